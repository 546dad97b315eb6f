// What an update takes from the settings of its step: in f64 until the end, by operations that the CPU and a GPU round alike.
#pragma once

#include <cmath>

#include "../../native/kernel.h"

namespace cd {

// Of all groups of a call.
struct AdamWSettings {
  double beta1, beta2, eps, weightDecay;
  uint64_t seed;

  explicit AdamWSettings(const Call& call)
      : beta1(call.attribute(0)),
        beta2(call.attribute(1)),
        eps(call.attribute(2)),
        weightDecay(call.attribute(3)),
        seed(static_cast<uint64_t>(call.attribute(4))) {}
};

struct AdamWRates {
  float keep1, rest1, keep2, rest2;  // β1, 1 − β1, β2, 1 − β2
  float decay, rate, correction2, eps;
  float rate8, eps8;  // with 8-bit state the correction is drawn into these
  uint32_t step;      // 0: it was not positive, and there is no update
  float factor;       // of the gradient

  CD_HOST_DEVICE static double power(double base, uint32_t exponent) {
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
      if (exponent & 1) result *= base;
    return result;
  }

  CD_HOST_DEVICE static AdamWRates of(const AdamWSettings& s, float learningRate, int32_t step, float factor) {
    AdamWRates rates{};
    if (step < 1) return rates;
    const double lr = learningRate;
    const double correction1 = 1 - power(s.beta1, static_cast<uint32_t>(step));
    const double correction2 = sqrt(1 - power(s.beta2, static_cast<uint32_t>(step)));
    rates.keep1 = static_cast<float>(s.beta1);
    rates.rest1 = static_cast<float>(1 - s.beta1);
    rates.keep2 = static_cast<float>(s.beta2);
    rates.rest2 = static_cast<float>(1 - s.beta2);
    rates.decay = static_cast<float>(1 - lr * s.weightDecay);
    rates.rate = static_cast<float>(lr / correction1);
    rates.correction2 = static_cast<float>(correction2);
    rates.eps = static_cast<float>(s.eps);
    rates.rate8 = static_cast<float>(lr * correction2 / correction1);
    rates.eps8 = static_cast<float>(correction2 * s.eps);
    rates.step = static_cast<uint32_t>(step);
    rates.factor = factor;
    return rates;
  }
};

inline std::string refusedStep(const Call&, int64_t step) {
  return "Expected 'step' to be at least 1 but received " + std::to_string(step);
}

}  // namespace cd
