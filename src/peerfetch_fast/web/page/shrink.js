/** A worker that makes pictures small: browsers decode beside the page's thread, but scale on it. */

addEventListener("message", async ({ data: { picture, width }, ports: [answer] }) => {
  try {
    const bitmap = await createImageBitmap(picture, { resizeWidth: width, resizeQuality: "medium" });
    answer.postMessage({ bitmap }, [bitmap]);
  } catch (error) {
    answer.postMessage({ error: error.message });
  }
});
