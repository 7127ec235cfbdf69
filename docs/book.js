// A message that is pasted into the search. Its colons and quotes would be taken for the search's own language, its small
// words for the beginning of large ones ("in" finds "instances"); hosts, paths and numbers are the admin's own.
document.addEventListener("paste", event => {
  const field = event.target
  if (!(field instanceof HTMLInputElement) || field.name !== "query") return
  const text = event.clipboardData.getData("text")
    .replace(/^\s*--> +[\w.-]+: /, "")
    .replace(/\bsites?(?:\[[^\]]*\])?\.(?:\w+\[[^\]]*\]\.)*/g, "")
    .replace(/(^|[\s('"])\/[^\s:'")]+/g, " ")
  const words = text.match(/[\p{L}_][\p{L}\p{N}_']{3,}/gu) || []
  if (words.length < 2) return
  event.preventDefault()
  field.setRangeText(words.join(" "), field.selectionStart, field.selectionEnd, "end")
  field.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}))
}, true)
