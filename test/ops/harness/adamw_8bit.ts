/** bitsandbytes' block-wise 8-bit AdamW (Dettmers et al. 2022) in plain f64, one element after the other. */

/**
 * The 256 values of the dynamic map: for each decade 10⁻⁶ … 1 the middles of 2^i (signed; 2^(i+1) unsigned) equal parts of
 * [0.1, 1], with both signs if signed; and 0 and 1.
 */
export function dynamicMap(signed: boolean): Float64Array {
  const values = [0, 1];
  for (let i = 0; i < 7; i += 1) {
    const parts = 2 ** (signed ? i : i + 1);
    for (let k = 0; k < parts; k += 1) {
      const middle = (0.1 + (0.9 * (k + 0.5)) / parts) * 10 ** (i - 6);
      values.push(middle);
      if (signed) values.push(-middle);
    }
  }
  return Float64Array.from(values).sort();
}

const maps = { signed: dynamicMap(true), unsigned: dynamicMap(false) };

/** The nearest code, found by looking at all of them. */
function nearest(map: Float64Array, value: number): number {
  let best = 0;
  for (let code = 1; code < 256; code += 1)
    if (Math.abs(map[code]! - value) < Math.abs(map[best]! - value)) best = code;
  return best;
}

export interface State8bit {
  p: Float64Array;
  mCodes: Float64Array;
  mAbsmax: Float64Array;
  vCodes: Float64Array;
  vAbsmax: Float64Array;
}

export interface AdamSettings {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  step: number;
}

export function step8bit(state: State8bit, gradient: ArrayLike<number>, settings: AdamSettings): void {
  const { learningRate, beta1, beta2, eps, weightDecay, step } = settings;
  const correction2 = Math.sqrt(1 - beta2 ** step);
  const rate = (learningRate * correction2) / (1 - beta1 ** step);
  for (let start = 0, block = 0; start < state.p.length; start += 256, block += 1) {
    const end = Math.min(start + 256, state.p.length);
    const m: number[] = [];
    const v: number[] = [];
    for (let i = start; i < end; i += 1) {
      const g = gradient[i]!;
      if (!Number.isFinite(g)) {
        m.push(0);
        v.push(0);
        continue;
      }
      m.push(beta1 * maps.signed[state.mCodes[i]!]! * state.mAbsmax[block]! + (1 - beta1) * g);
      v.push(beta2 * maps.unsigned[state.vCodes[i]!]! * state.vAbsmax[block]! + (1 - beta2) * g * g);
      state.p[i]! -= (rate * m.at(-1)!) / (Math.sqrt(v.at(-1)!) + correction2 * eps);
      state.p[i]! *= 1 - learningRate * weightDecay;
    }
    const mScale = Math.max(...m.map(Math.abs));
    const vScale = Math.max(...v);
    state.mAbsmax[block] = mScale;
    state.vAbsmax[block] = vScale;
    for (let i = start; i < end; i += 1) {
      const mi = m[i - start]!;
      const code = nearest(maps.signed, mScale > 0 ? mi / mScale : 0);
      state.mCodes[i] = mi < 0 && maps.signed[code] === 0 ? code - 1 : code;
      state.vCodes[i] = nearest(maps.unsigned, vScale > 0 ? v[i - start]! / vScale : 0);
    }
  }
}
