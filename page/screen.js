// Owns what the page asks of the screen it is on.

const phone = matchMedia("(max-width: 500px)");

export function isPhone() {
  return phone.matches;
}
