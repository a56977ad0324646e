// Commands that a click copies.
import { element } from "./elements.js";

export function commandBox(command) {
  const box = element("div", { className: "command" }, element("code", {}, command));
  addCopyButton(box);
  return box;
}

/** box: an element with a `code` in it. */
export function addCopyButton(box) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copied(box.querySelector("code"))) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  box.append(button);
}

/** Selects the text too, so that it can be copied by hand where a browser forbids more. */
async function copied(code) {
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    return document.execCommand("copy");
  }
}
