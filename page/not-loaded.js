// Owns saying why the page's modules were not loaded. A script and no module, for it runs where modules do not.

addEventListener("error", ({ target }) => target.type === "module" && sayWhyNotLoaded(), { capture: true });

function sayWhyNotLoaded() {
  const sentence = whyNotLoaded();
  document.querySelector("#status").dataset.status = "failed";
  document.querySelector("#state").textContent = sentence;
  document.querySelector("#notice p").textContent = sentence;
}

function whyNotLoaded() {
  if (location.protocol !== "file:") return "can't load the files in page/, which belong beside this page";
  // Browsers keep a page from a file away from modules, and from the workers that draw the charts.
  const wanted = new URLSearchParams(location.search).get("server") || "localhost:8080";
  const address = wanted.includes("://") ? wanted : `http://${wanted}`;
  const { origin } = new URL(URL.canParse(address) ? address : "http://localhost:8080");
  return `open this page over http, such as ${origin}/`;
}
