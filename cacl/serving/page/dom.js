// Elements from names, texts and properties. Texts are texts: nothing here ever reads HTML.

export const $ = (selector, from = document) => from.querySelector(selector);

export function make(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key in element && !key.startsWith("aria")) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (text, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, text);

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "?";
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600), rest = tenths % 600;
  const text = `${Math.floor(rest / 10)}.${rest % 10}`;
  return minutes ? `${minutes}:${text.padStart(4, "0")}` : `${text} s`;
}

export const range = (start, end) => (start === null || start === undefined ? "" : `${time(start)} – ${time(end)}`);

// Characters that turn the direction of writing, break lines or are halves of others are shown as signs, not followed.
export const shown = (name) =>
  name.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu, "\u{fffd}");

// A path that may break behind its signs, not within words.
export function named(path) {
  const parts = document.createDocumentFragment();
  for (const part of shown(path).split(/(?<=[/_\-. ])/u)) parts.append(part, make("wbr"));
  return parts;
}

export const counted = (number, noun) =>
  `${number.toLocaleString("en").replaceAll(",", " ")} ${noun}${number === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;

let timer = 0;
export function toast(text, action = null) {
  const place = $("#toast");
  place.replaceChildren(text, ...(action ? [" ", button(action[0], () => { place.hidden = true; action[1](); })] : []));
  place.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { place.hidden = true; }, 8000);
}

export const said = (error) => make("p.problem", { role: "alert" }, error.message);
