// A page that is written anew while a search runs: shown anew every so many seconds. It is loaded
// again as a whole, since a file may not be asked for any other way.
import { byId } from "./elements.js";

const TYPING_MS = 3000;

const ago = (seconds) => (seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`);

/** state: {paused}, which this keeps. */
export function startRefresh(state) {
  const { refresh, made } = document.documentElement.dataset;
  if (!refresh) return;
  const button = byId("refresh-pause"), age = byId("refresh-age");
  const loaded = performance.now();
  let typed = -TYPING_MS, held = false;

  /** Whether the reader is in the midst of something that would be cut off. */
  function isBusy() {
    return document.hidden || held || !getSelection().isCollapsed || performance.now() - typed < TYPING_MS;
  }

  const isDue = () => !state.paused && performance.now() - loaded >= 1000 * Number(refresh);

  function doing() {
    if (state.paused) return "paused";
    return isDue() && isBusy() ? "it waits for what you type or have selected" : "a search is at work";
  }

  function show() {
    const seconds = Math.max(0, Math.round(Date.now() / 1000 - Number(made)));
    age.textContent = `Updated ${ago(seconds)} ago; ${doing()}.`;
    button.textContent = state.paused ? "Go on" : "Pause";
  }

  addEventListener("keydown", () => (typed = performance.now()));
  addEventListener("pointerdown", () => (held = true));
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (held = false));
  button.addEventListener("click", () => {
    state.paused = !state.paused;
    show();
  });
  setInterval(() => {
    show();
    if (isDue() && !isBusy()) location.reload();
  }, 1000);
  show();
  byId("refresh").hidden = false;
}
