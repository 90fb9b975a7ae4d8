// Owns packing a value into few letters that an address can have, and unpacking them, whoever wrote these.

const MOST_LETTERS = 16_000;
const MOST_BYTES = 64 * 1024; // unpacked: a few letters may stand for any number of them

export async function pack(value) {
  const bytes = await readAll(new Blob([JSON.stringify(value)]), new CompressionStream("deflate-raw"));
  const letters = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return letters.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Throws an Error for what pack() did not make, or for too much of it. */
export async function unpack(text) {
  if (text.length > MOST_LETTERS) throw new Error("it is too long");
  const letters = text.replaceAll("-", "+").replaceAll("_", "/");
  let bytes;
  try {
    const packed = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
    bytes = await readAll(new Blob([packed]), new DecompressionStream("deflate-raw"));
  } catch (error) {
    if (error instanceof TooMuch) throw error;
    throw new Error("a part of it is missing or changed");
  }
  return JSON.parse(new TextDecoder().decode(bytes));
}

class TooMuch extends Error {}

async function readAll(blob, transform) {
  const reader = blob.stream().pipeThrough(transform).getReader();
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    size += value.length;
    if (size > MOST_BYTES) {
      reader.cancel().catch(() => {});
      throw new TooMuch("it is too long");
    }
    chunks.push(value);
  }
}
