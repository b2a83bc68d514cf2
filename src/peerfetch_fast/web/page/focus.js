/** Where the keyboard is, when what it was on goes away. */

/** Do `change`, and go on at `next` if that hid or removed what had the focus. */
export function keepingFocus(change, next) {
  const held = document.activeElement;
  change();
  if (held && held.getClientRects().length === 0) next.focus();
}
