#include "ops.h"

namespace cd {

const std::vector<const Op*>& allOps() {
  static const std::vector<const Op*> list = {
#define X(name, folder) &ops::name,
#include "../kernels/ops.def"
#undef X
  };
  return list;
}

}  // namespace cd
