/** What stands between the matrix products of a layer. T tokens, E hidden size, I intermediate size, H heads, D head size, V vocabulary. */
import type { OpBench } from '../op_bench.js';
import { bytesOf } from '../operands.js';

const norm = { T: 2048, E: 576 };
const gate = { T: 2048, I: 1536 };
const lookup = { T: 2048, E: 576, V: 49152 };

export const layers: OpBench[] = [
  {
    op: 'rms_norm',
    computes: 'root mean square norm of T rows of E',
    shape: norm,
    peer: 'torch.nn.functional.rms_norm',
    build: (make, { T, E }) => ({
      tensors: [make.random([T!, E!]), make.random([E!]), make.empty([T!, E!]), make.empty([T!], 'f32')],
      attributes: [1e-5],
    }),
  },
  {
    op: 'rms_norm_backward',
    computes: 'its backward pass, the gradient of the weight included',
    shape: norm,
    peer: 'backward of torch.nn.functional.rms_norm',
    build: (make, { T, E }) => ({
      tensors: [
        make.random([T!, E!]),
        make.random([E!]),
        make.full([T!], 1, 'f32'),
        make.random([T!, E!]),
        make.empty([T!, E!]),
        make.empty([E!], 'f32'),
        null,
      ],
    }),
  },
  {
    op: 'add_rms_norm',
    computes: 'root mean square norm of the sum of two tensors of T rows of E, and the sum',
    shape: norm,
    peer: 'torch.add, then torch.nn.functional.rms_norm',
    build: (make, { T, E }) => ({
      tensors: [
        make.random([T!, E!]),
        make.random([T!, E!]),
        make.random([E!]),
        make.empty([T!, E!]),
        make.empty([T!, E!]),
        make.empty([T!], 'f32'),
      ],
      attributes: [1e-5],
    }),
  },
  {
    op: 'rotary_table',
    computes: 'cosines and sines of T positions for D dimensions',
    shape: { T: 2048, D: 64 },
    build: (make, { T, D }) => ({
      tensors: [
        make.integers(Array.from({ length: T! }, (_, position) => position)),
        make.full([D! / 2], 0.01, 'f32'),
        make.empty([T!, D!], 'f32'),
      ],
      attributes: [1],
    }),
  },
  {
    op: 'rotary',
    computes: 'rotary position embedding of T tokens, H heads of D',
    shape: { T: 2048, H: 9, D: 64 },
    peer: 'x·cos + rotate_half(x)·sin, as transformers',
    build: (make, { T, H, D }) => ({
      tensors: [make.random([T!, H!, D!]), make.full([T!, D!], 0.7, 'f32'), make.empty([T!, H!, D!])],
      attributes: [1],
    }),
  },
  {
    op: 'silu_mul',
    computes: 'silu(gate)·up of T rows of I',
    shape: gate,
    peer: 'silu(gate) * up',
    build: (make, { T, I }) => ({ tensors: [make.random([T!, I!]), make.random([T!, I!]), make.empty([T!, I!])] }),
  },
  {
    op: 'silu_mul_backward',
    computes: 'its backward pass',
    shape: gate,
    peer: 'backward of silu(gate) * up',
    build(make, { T, I }) {
      const input = () => make.random([T!, I!]);
      const output = () => make.empty([T!, I!]);
      return { tensors: [input(), input(), input(), output(), output()] };
    },
  },
  {
    op: 'embedding',
    computes: 'T rows of E looked up in a table of V',
    shape: lookup,
    peer: 'torch.nn.functional.embedding',
    build(make, { T, E, V }) {
      const [ids, y] = [make.indices(T!, V!), make.empty([T!, E!])];
      return { tensors: [make.random([V!, E!]), ids, y], bytes: 2 * bytesOf(y) + bytesOf(ids) };
    },
  },
  {
    op: 'embedding_backward',
    computes: 'T rows of E added to the rows of an f32 table of V',
    shape: lookup,
    build(make, { T, E, V }) {
      const [ids, dy] = [make.indices(T!, V!), make.random([T!, E!])];
      return { tensors: [ids, dy, make.empty([V!, E!], 'f32')], bytes: bytesOf(ids) + bytesOf(dy) + 2 * 4 * T! * E! };
    },
  },
  {
    op: 'dropout',
    computes: 'dropout of T rows of E with p = 0.05',
    shape: norm,
    peer: 'torch.nn.functional.dropout',
    build: (make, { T, E }) => ({
      tensors: [make.random([T!, E!]), make.empty([T!, E!])],
      attributes: [0.05, 1, 1, 0, 0, E!],
    }),
  },
];
