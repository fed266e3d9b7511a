/* Elements, numbers as they are shown, and questions to the server. */
export const SVG = "http://www.w3.org/2000/svg";

export function make(kind, content, about) {
  return fill(document.createElement(kind), content, about);
}

export function drawn(kind, about, content) {
  return fill(document.createElementNS(SVG, kind), content, about);
}

function fill(element, content, about) {
  if (Array.isArray(content)) element.append(...content.filter((each) => each !== null && each !== undefined));
  else if (content !== undefined && content !== null) element.append(content);
  for (const [name, value] of Object.entries(about || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

export function button(text, click, about) {
  return make("button", text, { type: "button", click, ...about });
}

export function shown(value, digits = 5) {
  if (value === null || value === undefined) return "not finite";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (value === 0) return "0";
  const rounded = Number(value.toPrecision(digits));
  return size < 1e-3 || size >= 1e6 ? rounded.toExponential() : String(rounded);
}

export function numberCell(value) {
  return make("td", shown(value), { class: `number ${value < 0 ? "minus" : value > 0 ? "plus" : ""}` });
}

export async function ask(what, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return told(await fetch(`${what}?${new URLSearchParams(given)}`));
}

export async function tell(what, content, query = {}) {
  const options = { method: "POST", body: JSON.stringify(content), headers: { "content-type": "application/json" } };
  return told(await fetch(`${what}?${new URLSearchParams(query)}`, options));
}

export async function send(what, content) {
  let answer = null;
  try { answer = await fetch(what, { method: "POST", body: content }); } catch { throw new Error("the page's server broke the upload off, or has ended"); }
  return told(answer);
}

async function told(answer) {
  if (answer.ok) return (answer.headers.get("content-type") || "").startsWith("application/json") ? answer.json() : answer;
  let error = `the page's server says: ${answer.status}`;
  try { error = (await answer.json()).error || error; } catch { /* no JSON: the status has to do */ }
  throw new Error(error);
}

/* A part of the page that takes a while: says so, and says what went wrong. */
export async function during(host, words, work) {
  const note = make("p", words, { class: "faint", role: "status" });
  host.replaceChildren(note);
  try {
    const found = await work();
    host.replaceChildren();
    return found;
  } catch (error) {
    host.replaceChildren(make("p", error.message, { class: "minus", role: "alert" }));
    return null;
  }
}

export function save(name, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content]));
  make("a", "", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/* The place in the page is part of its address, behind the #: a link leads back to it. */
export const place = {
  read: () => Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
  write(changes) {
    const all = new URLSearchParams(Object.entries({ ...place.read(), ...changes }).filter(([, value]) => value !== null));
    history.replaceState(null, "", `#${all}`);
  },
};
