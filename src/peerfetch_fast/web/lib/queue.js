/** First in, first out, each in constant time: Array.shift() may move all that is behind. */
export class Queue {
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  get first() {
    return this.#items[this.#head];
  }

  get last() {
    return this.#items[this.#items.length - 1];
  }

  push(item) {
    this.#items.push(item);
  }

  /** Put `item` in the place of the last. */
  replaceLast(item) {
    this.#items[this.#items.length - 1] = item;
  }

  /** The first, which is not in the queue any more; undefined if there is none. */
  shift() {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
