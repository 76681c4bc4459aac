"""What tests look for on pages, in JavaScript."""

CHANGE = """
(async () => {
  const canvas = document.getElementById("sent");
  const look = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const first = look();
  await new Promise(done => setTimeout(done, 700));
  const second = look();
  let sum = 0;
  for (let i = 0; i < first.length; i += 4) sum += Math.abs(first[i] - second[i]);
  return sum / (first.length / 4);
})()
"""
"""How much the avatar's picture changes within 0.7 s, in levels of 255."""

NAMELESS = """
[...document.querySelectorAll("button, input, select, summary, canvas")].filter(e =>
  !(e.getAttribute("aria-label") || e.textContent.trim() || [...e.labels ?? []].some(l => l.textContent.trim()))
).map(e => e.outerHTML.slice(0, 80))
"""
