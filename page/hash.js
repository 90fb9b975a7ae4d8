// Owns the parts of the address behind its #, such as time=24h.

/** What the address says there of a name, or null. */
export function partOfHash(name) {
  const part = parts(location.hash).find((part) => part.startsWith(`${name}=`));
  return part === undefined ? null : decode(part.slice(name.length + 1));
}

/** A hash with those of the `changes` that are not null in the place of what it says of them now. */
export function changeHash(hash, changes) {
  const others = parts(hash).filter((part) => !(part.split("=")[0] in changes));
  const now = Object.entries(changes).filter(([, value]) => value !== null);
  return [...others, ...now.map(([name, value]) => `${name}=${value}`)].join("&");
}

function parts(hash) {
  return hash.slice(1).split("&").filter(Boolean);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
