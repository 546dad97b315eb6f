/** B documents or sequences, L tokens of a document, H heads, G key/value heads, D head size, C tokens of context, Q new tokens. */

import { launch } from '../../tensor/launch.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { OpBench } from '../op_bench.js';
import { bytesOf, type Operands } from '../operands.js';
import type { Shape } from '../shape.js';

const blockSize = 16;
const documents = { B: 4, L: 512, H: 9, G: 3, D: 64 };

/** Query–key pairs of all heads: each costs 4·D in the forward pass, two products of D multiply-adds. */
const pairs = ({ B, L, H }: Shape): number => (B! * H! * L! * (L! + 1)) / 2;

function packed(make: Operands, { B, L, H, G, D }: Shape) {
  const T = B! * L!;
  return {
    q: make.random([T, H!, D!]),
    k: make.random([T, G!, D!]),
    v: make.random([T, G!, D!]),
    cuSeqlens: make.integers(Array.from({ length: B! + 1 }, (_, document) => document * L!)),
    o: make.empty([T, H!, D!]),
    lse: make.empty([T, H!], 'f32'),
  };
}

function sum(tensors: readonly Tensor[]): number {
  return tensors.reduce((bytes, tensor) => bytes + bytesOf(tensor), 0);
}

export const attention: OpBench[] = [
  {
    op: 'attention',
    computes: 'causal attention of B packed documents of L tokens; only pairs that are seen are counted',
    shape: documents,
    peer: 'scaled_dot_product_attention, is_causal, on [B, H, L, D]',
    build(make, shape) {
      const { q, k, v, cuSeqlens, o, lse } = packed(make, shape);
      return {
        tensors: [q, k, v, cuSeqlens, null, o, lse],
        attributes: [shape.D! ** -0.5, 0],
        flops: 4 * shape.D! * pairs(shape),
      };
    },
  },
  {
    op: 'attention_backward',
    computes: 'its backward pass: 2.5 times the operations, with the scores computed again',
    shape: documents,
    peer: 'backward of scaled_dot_product_attention, is_causal',
    build(make, shape) {
      const { q, k, v, cuSeqlens, o, lse } = packed(make, shape);
      const scale = shape.D! ** -0.5;
      launch('attention', [q, k, v, cuSeqlens, null, o, lse], [scale, 0]);
      const dO = make.random(o.shape);
      const gradients = [q, k, v].map((tensor) => make.empty(tensor.shape));
      return {
        tensors: [q, k, v, cuSeqlens, o, lse, dO, ...gradients],
        attributes: [scale, 0],
        flops: 10 * shape.D! * pairs(shape),
      };
    },
  },
  {
    op: 'paged_attention',
    computes:
      'Q new tokens each of B sequences of C tokens, keys and values in blocks of 16 in random order; fp8 1: stored in fp8',
    shape: { B: 32, C: 256, Q: 1, H: 9, G: 3, D: 64, fp8: 0 },
    peer: 'scaled_dot_product_attention on contiguous keys and values',
    build(make, { B, C, Q, H, G, D, fp8 }) {
      const perSequence = Math.ceil(C! / blockSize);
      const blocks = B! * perSequence;
      const q = make.random([B! * Q!, H!, D!]);
      const o = make.empty(q.shape);
      const shape = [blocks, blockSize, G!, D!];
      const [key, value] = [0, 1].map(() => (fp8 ? make.bytes(shape, 'fp8') : make.random(shape)));
      // A walk over all blocks in steps that share no factor with their number.
      let step = Math.max(1, Math.round(blocks * 0.618));
      while (gcd(step, blocks) !== 1) step += 1;
      const table = Array.from({ length: blocks }, (_, index) => (index * step) % blocks);
      const seen = Q! * C! - (Q! * (Q! - 1)) / 2;
      const read = 2 * B! * C! * G! * D! * (bytesOf(key!) / key!.size);
      return {
        tensors: [
          q,
          key!,
          value!,
          make.integers(table, [B!, perSequence]),
          make.integers(Array.from({ length: B! + 1 }, (_, index) => index * Q!)),
          make.integers(new Array<number>(B!).fill(C!)),
          null,
          o,
        ],
        attributes: [D! ** -0.5, 0],
        flops: 4 * D! * B! * H! * seen,
        bytes: read + sum([q, o]),
      };
    },
  },
  {
    op: 'kv_write',
    computes: 'rotary embedding of H heads and G keys of T tokens, keys and values into blocks of 16',
    shape: { T: 2048, H: 9, G: 3, D: 64 },
    build(make, { T, H, G, D }) {
      const [k, v, q] = [make.random([T!, G!, D!]), make.random([T!, G!, D!]), make.random([T!, H!, D!])];
      const cosSin = make.full([T!, D!], 0.7, 'f32');
      const blocks = Math.ceil(T! / blockSize);
      const slots = make.integers(Array.from({ length: T! }, (_, index) => blocks * blockSize - 1 - index));
      const cache = () => make.empty([blocks, blockSize, G!, D!]);
      return {
        tensors: [k, v, slots, cache(), cache(), cosSin, q],
        bytes: 2 * sum([k, v, q]) + sum([slots, cosSin]),
      };
    },
  },
];

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
