/** Where a response's reasoning ends and its answer begins. */

export interface SplitResponse {
  reasoning: string;
  /** What stands behind the reasoning; null when the reasoning never ends. */
  final: string | null;
}

/**
 * Splits at the first `<think>` … `</think>`. A missing opening tag is allowed (some templates put it into the
 * prompt); without any tag there is no reasoning and all is answer.
 */
export function splitThinking(response: string): SplitResponse {
  const open = response.indexOf('<think>');
  const close = response.indexOf('</think>', Math.max(open, 0));
  if (open < 0 && close < 0) return { reasoning: '', final: response.trim() };
  const start = open < 0 ? 0 : open + '<think>'.length;
  if (close < 0) return { reasoning: response.slice(start).trim(), final: null };
  return {
    reasoning: response.slice(start, close).trim(),
    final: response.slice(close + '</think>'.length).trim(),
  };
}

/** As `splitThinking`, or with mode `all` the whole response as reasoning and as answer at once. */
export function splitResponse(response: string, mode: 'think' | 'all'): SplitResponse {
  if (mode === 'think') return splitThinking(response);
  return { reasoning: response.trim(), final: response.trim() };
}
