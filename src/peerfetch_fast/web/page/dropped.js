/** Files that are dropped or pasted: those of folders, too, with the path that they have there. */

/** Files of one drop: who drops more, drops an archive. */
const MAX_FILES = 50_000;

/** A path that a File does not tell of itself, because it was not picked with its folder. */
const paths = new WeakMap();

/** Where a file is in the folder that was picked or dropped; its name for a file alone. */
export const pathOf = (file) => paths.get(file) || file.webkitRelativePath || file.name || "file";

/** Call `use` with the files of what is dropped onto the page, or pasted into it. */
export function onFiles(use) {
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    const files = await filesOf(event.dataTransfer);
    if (files.length) use(files);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) use(files);
  });
}

/** All files of a DataTransfer, which must be asked at once: it is empty after the event. */
async function filesOf(transfer) {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...(transfer?.files ?? [])];
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length >= MAX_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (!file) return; // it cannot be read
    paths.set(file, entry.fullPath.replace(/^\//, ""));
    found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A browser gives some at a time.
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return;
    for (const below of some) await walk(below, found);
  }
}
