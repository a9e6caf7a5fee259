const box = document.getElementById("find"), count = document.getElementById("found");
const rows = [...document.querySelectorAll("#people tbody tr")].map(row => [row, row.textContent.toLowerCase()]);
box.parentElement.hidden = false;
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().replaceAll("@", "").split(/\s+/);
  let shown = 0;
  for (const [row, text] of rows) {
    row.hidden = !words.every(word => text.includes(word));
    shown += !row.hidden;
  }
  count.textContent = box.value.trim() ? `${shown} of ${rows.length}` : "";
});
