import type { ReportData, StudentReport } from '../../src/report/report_data.js';

export function emptyReport(students: StudentReport[]): ReportData {
  return {
    title: 'example',
    created: '2026-01-01T00:00:00.000Z',
    settings: [['Seed', '0']],
    questions: { train: 2, eval: 3 },
    traces: {
      questions: 2,
      correct: 2,
      rounds: [{ round: 1, asked: 2, correct: 2 }],
      failures: '',
      characters: [100, 120],
      tokens: [30, 40],
      datasets: ['sums', 'sums'],
      asked: [{ dataset: 'sums', questions: 2 }],
    },
    compressors: [
      {
        name: 'short',
        model: 'm',
        traces: 2,
        usable: 2,
        failures: '',
        datasets: ['sums', 'sums'],
        characters: [40, 50],
        originalCharacters: [100, 120],
        tokens: [10, 12],
        originalTokens: [30, 40],
      },
    ],
    truncated: [10, 12],
    students,
    samples: [
      {
        question: 'Is 1 < 2 & 3 > 2?',
        answer: '<b>yes</b>',
        dataset: 'sums',
        texts: [{ arm: 'raw', text: '"quoted" <script>alert(1)</script>', tokens: 7 }],
      },
    ],
    costs: [
      {
        stage: 'traces',
        arm: null,
        seconds: 2,
        deviceSeconds: 1.8,
        promptTokens: 400,
        tokens: 100,
        kilowattHours: 0.0005,
        measured: false,
      },
    ],
    factors: { watts: 700, pue: 1.15, gramsPerKwh: 100, device: 'GPU' },
    prediction: {
      basis: 'Lengths from 5 rows sampled so far.',
      stages: [
        {
          stage: 'traces',
          predicted: { tokens: { expected: 120, low: 60, high: 240 }, seconds: { expected: 1, low: 0.5, high: 3 } },
          actual: { tokens: 100, seconds: 2 },
        },
      ],
    },
  };
}
