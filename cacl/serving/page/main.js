// The page: tabs, keys, and what begins.
import { get } from "./api.js";
import * as classes from "./classes.js";
import { $, counted, said, shown } from "./dom.js";
import * as duplicates from "./duplicates.js";
import * as labels from "./labels.js";
import * as map from "./map.js";
import * as search from "./search.js";
import * as state from "./state.js";

function showTab() {
  const { tab } = state.read();
  for (const name of state.TABS) {
    $(`#${name}`).hidden = name !== tab;
    $(`#tab-${name}`).setAttribute("aria-selected", String(name === tab));
    $(`#tab-${name}`).tabIndex = name === tab ? 0 : -1;
  }
  if (tab === "duplicates") duplicates.show();
  if (tab === "labels") labels.show();
  if (tab === "map") map.show();
}

function goTab(tab) {
  state.write({ ...state.read(), tab });
  showTab();
}

for (const button of document.querySelectorAll("[data-tab]")) button.addEventListener("click", () => goTab(button.dataset.tab));
$("nav").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const next = state.TABS[(state.TABS.indexOf(state.read().tab) + step + state.TABS.length) % state.TABS.length];
  goTab(next);
  $(`#tab-${next}`).focus();
});
$("#help-button").addEventListener("click", () => $("#help").showModal());
$("#stale button").addEventListener("click", () => location.reload());
document.addEventListener("tab", showTab);
window.addEventListener("popstate", () => { showTab(); search.revisit(); });

function move(step) {
  const hits = [...document.querySelectorAll("main > section:not([hidden]) .hit")];
  if (!hits.length) return;
  const now = hits.indexOf(document.activeElement?.closest(".hit"));
  const next = hits[now < 0 ? 0 : Math.min(Math.max(now + step, 0), hits.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  const typing = target.matches("textarea, select, input:not([type=range]):not([type=checkbox])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const acts = target.closest(".hit")?.acts;
  const tab = state.TABS[Number(event.key) - 1];
  if (tab) goTab(tab);
  else if (event.key === "/") { goTab("search"); $("#find").focus(); }
  else if (event.key === "?") $("#help").showModal();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "z") labels.undo();
  else if (event.key === "l") labels.name();
  else if (event.key === "t") { goTab("labels"); classes.learn(); }
  else if (event.key === "m") { goTab("map"); $("#map-canvas").focus(); }
  else if (event.key === "Enter" && target.matches(".hit")) (target.acts?.toggle ?? (() => $("button", target).click()))();
  else if (acts && event.key === "u") acts.use();
  else if (acts && event.key === "+") acts.like();
  else if (acts && event.key === "-") acts.unlike();
  else if (acts && event.key === "x") acts.select();
  else return;
  event.preventDefault();
});

try {
  const about = await get("/api/about");
  $("#size").textContent = `${counted(about.stretches, "stretch")} of ${counted(about.videos, "video")}`;
  $("#size").title = shown(about.root);
  labels.start(about);
  map.start();
  showTab();
  await search.start(about);
} catch (error) {
  $("main").replaceChildren(said(error));
}
document.documentElement.dataset.ready = "yes";
