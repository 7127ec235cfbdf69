// A message that is pasted into the search has colons and quotes, which the search would take for its own language.
document.addEventListener("paste", event => {
  const field = event.target
  if (!(field instanceof HTMLInputElement) || field.name !== "query") return
  event.preventDefault()
  const text = event.clipboardData.getData("text").replace(/[^\p{L}\p{N}_.' ]+/gu, " ").trim()
  field.setRangeText(text, field.selectionStart, field.selectionEnd, "end")
  field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}))
  field.dispatchEvent(new InputEvent("input", {bubbles: true}))
}, true)
