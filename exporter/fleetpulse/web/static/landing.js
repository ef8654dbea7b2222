// Keeps the landing page fresh: fetches it again and puts in what has changed, so nothing flickers or loses focus.
const EVERY_MS = 5000;
const SOON_MS = 1500;

function replaceChanged(fresh) {
  for (const now of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(now.id);
    if (next && next.innerHTML !== now.innerHTML && !now.contains(document.activeElement)) now.replaceWith(document.adoptNode(next));
  }
}

/** Whether the page has other parts now, a budget more, say: it is then loaded as a whole. */
function isAnother(fresh) {
  const ids = (page) => [...page.querySelectorAll("[data-live]")].map((each) => each.id).join();
  return ids(fresh) !== ids(document);
}

async function refresh() {
  try {
    const response = await fetch("/", { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(response.statusText);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    if (isAnother(fresh)) location.reload();
    else replaceChanged(fresh);
    document.getElementById("lost").hidden = true;
  } catch {
    document.getElementById("lost").hidden = false;
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, EVERY_MS);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const pre = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = label; }, 2000);
  } catch {
    getSelection().selectAllChildren(pre);
  }
});

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setTimeout(keepFresh, SOON_MS);
