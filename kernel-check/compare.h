// What two back ends' outcomes of one case differ in.
#pragma once

#include "run.h"

namespace cd::check {

struct Comparison {
  std::vector<std::string> problems;  // the first few
  double worst = 0;                   // error in units of what is allowed
};

// before: how the storages of `actual` started. Everything written must agree within the case's bounds, everything else be as it
// was.
Comparison compare(const Op& op, const Case& one, const Outcome& expected, const Images& before, const Outcome& actual);

}  // namespace cd::check
