// Questions to the server. Each carries the state of the index that this page was opened on.
import { $ } from "./dom.js";

const state = document.documentElement.dataset.state;

async function answered(request, binary = false) {
  let reply;
  try {
    reply = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: start cacl serve again.");
  }
  const type = reply.headers.get("content-type") ?? "";
  if (binary && reply.ok) return reply.arrayBuffer();
  const content = type.startsWith("application/json") ? await reply.json() : { error: await reply.text() };
  if (reply.status === 409) {
    $("#stale span").textContent = content.error;
    $("#stale").hidden = false;
  }
  if (!reply.ok) throw new Error(content.error || `The server answered ${reply.status}.`);
  return content;
}

function address(path, asked) {
  const words = new URLSearchParams({ state });
  for (const [name, value] of Object.entries(asked)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== "") words.append(name, one);
  }
  return `${path}?${words}`;
}

export const get = (path, asked = {}, signal = null) => answered(fetch(address(path, asked), { signal }));

export const data = (path, asked = {}) => answered(fetch(address(path, asked)), true);

export const post = (path, sent) =>
  answered(fetch(address(path, {}), { method: "POST", headers: { "x-cacl": "1" }, body: JSON.stringify(sent) }));

export const drop = (file) =>
  answered(fetch(address("/api/drop", { name: file.name }), { method: "POST", headers: { "x-cacl": "1" }, body: file }));

// The browser keeps a picture; another index of the same videos, at the same port, has others.
export const preview = (key, n) => address(`/preview/${key}/${n}`, {});
