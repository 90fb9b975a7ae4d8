// Owns the few bytes of Perspective's protocol that the page reads and writes itself: protobuf, as the server has it.

const NUMBER = 1; // of a message
const NAME = 2; // of the table or view that it is about
export const ON_UPDATE = 21; // what is asked, and the kind of its answer
export const REMOVE_UPDATE = 22;
export const VIEW_DELETE = 11;
const SUBSCRIPTIONS = [4, ON_UPDATE, 29, 34, 39]; // which may never be answered

/** Of a request or an answer: its number, the name of what it is about, the kind, and the kind's content. */
export function readMessage(bytes) {
  const message = { number: 0, name: "", kind: 0, content: bytes.subarray(0, 0) };
  for (const [field, value] of fields(bytes)) {
    if (field === NUMBER) message.number = value;
    else if (field === NAME) message.name = new TextDecoder().decode(value);
    else Object.assign(message, { kind: field, content: value });
  }
  return message;
}

export function isAnsweredOnce({ kind }) {
  return !SUBSCRIPTIONS.includes(kind);
}

/** Whether a request only ends what its sender had: nobody waits for an answer to that. */
export function isGivenBack(request) {
  return [REMOVE_UPDATE, VIEW_DELETE].includes(readMessage(request).kind);
}

/** Which subscription a request ends. */
export function subscriptionOf({ content }) {
  return [...fields(content)].find(([field]) => field === 1)?.[1] ?? 0;
}

/** What a server sends when a view has changed to which somebody subscribed. */
export function makeUpdate(number, name) {
  const text = new TextEncoder().encode(name);
  return Uint8Array.from([
    ...[tag(NUMBER, 0), ...varint(number)],
    ...[tag(NAME, 2), ...varint(text.length), ...text],
    ...[...varint((ON_UPDATE << 3) | 2), 0],
  ]);
}

function tag(field, type) {
  return (field << 3) | type;
}

/** A whole number below 2³², seven bits a byte. */
function varint(number) {
  const bytes = [];
  for (; number >= 128; number = Math.floor(number / 128)) bytes.push((number % 128) | 128);
  return [...bytes, number];
}

/** Pairs of a field's number and its value, a number or bytes. */
function* fields(bytes) {
  let at = 0;
  const readVarint = () => {
    let [value, scale] = [0, 1];
    for (; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (!(byte & 128)) return value;
    }
  };
  while (at < bytes.length) {
    const key = readVarint();
    const [field, type] = [Math.floor(key / 8), key % 8];
    if (type === 0) {
      yield [field, readVarint()];
      continue;
    }
    const size = type === 2 ? readVarint() : { 1: 8, 5: 4 }[type];
    yield [field, bytes.subarray(at, (at += size))];
  }
}
