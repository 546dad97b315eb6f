/** The report's style: system fonts, light or dark as the reader has it, one column on a phone. */
export const styleSheet = `
:root {
  --page: #fbfbfa; --card: #ffffff; --ink: #1c1e21; --soft: #5c6167; --line: #e2e3e1; --accent: #0b6bcb;
  --arm-0: #0b6bcb; --arm-1: #d1590f; --arm-2: #17864b; --arm-3: #8b4fc0; --arm-4: #b8860b; --arm-5: #c2326b; --arm-6: #1a8a96; --arm-7: #6b7075;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1d2024; --ink: #e8e9ea; --soft: #a0a5ab; --line: #33373c; --accent: #6db3ff;
    --arm-0: #6db3ff; --arm-1: #ff9a5c; --arm-2: #5fd08f; --arm-3: #c49bf0; --arm-4: #e6c04a; --arm-5: #ff86b0; --arm-6: #5fcfdb; --arm-7: #a9aeb4;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
section.part > .scroll + .scroll { margin-top: 1rem; }
h4 { margin: 0 0 .4rem; font-size: .85rem; color: var(--soft); font-weight: 600; }
.lead { color: var(--soft); font-size: 1.05rem; }
.verdict { border-left: 4px solid var(--accent); background: var(--card); padding: .7rem 1rem; margin: 1rem 0; border-radius: 0 6px 6px 0; }
.note { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th.number { min-width: 3.6rem; }
tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; margin-top: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }
figcaption { color: var(--soft); font-size: .85rem; margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif; }
svg text { fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--soft); }
svg .series { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; padding-left: .4rem; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: 1.2rem 0 0; font-size: .9rem; }
a { color: var(--accent); }
[hidden] { display: none !important; }
#filters { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin-bottom: 1rem; font-size: .9rem; }
#filters input[type=search], #filters select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .35rem .6rem; min-width: 0; }
#filters input[type=search] { flex: 1 1 14rem; }
#filters fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem .8rem; }
#filters output { color: var(--soft); }
.answer { background: var(--line); border-radius: 4px; padding: 0 .4em; }
article { margin-bottom: 1.5rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .8rem; }
.beside section { background: var(--card); border: 1px solid var(--line); border-top-width: 3px; border-radius: 6px; padding: .7rem; min-width: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .8rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1rem; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
`;
