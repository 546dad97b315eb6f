/** The `\boxed{…}` of a response, found in one pass. */

export interface Box {
  content: string;
  start: number;
  /** Behind the closing brace. */
  end: number;
}

const opening = /\\f?boxed\s{0,3}$/;

/** Every closed \boxed{…} or \fbox{…} that is not inside another, in order. */
export function findBoxes(text: string): Box[] {
  if (!text.includes('boxed')) return [];
  /** For every open brace, where the box began that it opens, or −1. */
  const open: { start: number; inside: number }[] = [];
  const boxes: Box[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '\\') i++;
    else if (c === '{') {
      const match = opening.exec(text.slice(Math.max(0, i - 12), i));
      open.push({ start: match === null ? -1 : i - match[0].length, inside: i + 1 });
    } else if (c === '}') {
      const last = open.pop();
      if (last === undefined || last.start < 0) continue;
      while (boxes.length > 0 && boxes.at(-1)!.start > last.start) boxes.pop();
      boxes.push({ content: text.slice(last.inside, i), start: last.start, end: i + 1 });
    }
  }
  return boxes;
}

/** Between boxes that belong together: nothing, a comma, or a few words that end in "and" or "or". */
const joint =
  /^(?:[\s$,;&.]|\\[()[\],;! ]|\\q?quad\b)*(?:\\text\s*\{)?\s*(?:(?:[^\s\\{}.!?]+\s+){0,4}?(?:and|or)\b)?(?:[\s$,;}]|\\[()[\],;! ]|\\q?quad\b|[a-z]\w*\s*=)*$/;

/** The last box, and those before it that are parts of the same answer: `\boxed{1} and \boxed{2}`. */
export function lastBoxes(text: string): Box[] {
  const boxes = findBoxes(text);
  let first = boxes.length - 1;
  while (first > 0) {
    const between = text.slice(boxes[first - 1]!.end, boxes[first]!.start);
    if (between.length > 60 || between.includes('\n\n') || !joint.test(between)) break;
    first--;
  }
  return boxes.slice(Math.max(0, first));
}
