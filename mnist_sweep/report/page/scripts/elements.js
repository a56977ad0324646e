// Elements of the page. Data becomes text nodes, never markup: it says whatever configs and errors
// said.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && !name.startsWith("aria-")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const count = (number) => number.toLocaleString("en-US");

export const statusMark = (status) =>
  element("span", { className: `status ${/^[a-z]+$/.test(status) ? status : ""}` }, status);

export const addressOf = (id) => `#run=${encodeURIComponent(id)}`;

export const runLink = (id, text = id) => element("a", { href: addressOf(id) }, text);

/** The text that bundle.py's `packed` put into an element. */
export async function unpacked(id) {
  const letters = atob(byId(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
