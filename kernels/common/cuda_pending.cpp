// What an emulated thread has started and not waited for: copies, stores of tiles, products of warpgroups.
#include <algorithm>
#include <cstring>

#include "cuda_fibers.h"

namespace cd::emulation {

void Thread::copyLater(void* target, const void* source, int bytes, int valid) {
  for (const Copy& copy : copies)
    if (copy.target == target) fail("two asynchronous copies into one place are under way");
  std::memset(target, kPoison, bytes);
  copies.push_back({target, source, bytes, valid});
}

void Thread::endCopyGroup() { copies.push_back({nullptr, nullptr, 0, 0}); }

void Thread::waitForCopies(int groupsLeft) {
  // The end of what must have arrived: after the last group but `groupsLeft`.
  size_t end = copies.size();
  for (int groups = 0; end > 0; --end)
    if (!copies[end - 1].target && groups++ == groupsLeft) break;
  for (size_t i = 0; i < end; ++i) {
    const Copy& copy = copies[i];
    if (!copy.target) continue;
    if (copy.valid > 0) std::memcpy(copy.target, copy.source, copy.valid);
    std::memset(static_cast<char*>(copy.target) + copy.valid, 0, copy.bytes - copy.valid);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(end));
}

void Thread::commitStores() {
  if (eager())
    for (std::function<void()>& store : stores)
      if (store) {
        store();
        store = [] {};
      }
  stores.push_back(nullptr);
}

void Thread::waitForStores(int groupsLeft) {
  size_t end = stores.size();
  for (int groups = 0; end > 0; --end)
    if (!stores[end - 1] && groups++ == groupsLeft) break;
  for (size_t i = 0; i < end; ++i)
    if (stores[i]) stores[i]();
  stores.erase(stores.begin(), stores.begin() + static_cast<std::ptrdiff_t>(end));
}

void Thread::issueProduct(const Product& product) {
  if (blockSize.count() % (4 * kWarpSize) != 0) fail("a product of a warpgroup in a block that does not consist of them");
  products.push_back(product);
  hideSums(product);
}

void Thread::hideSums(const Product& product) {
  for (const Sums& known : sums)
    if (known.place == product.sums) return;
  const size_t count = product.columns / 2;
  sums.push_back({product.sums, std::vector<float>(product.sums, product.sums + count)});
  std::memset(product.sums, kPoison, count * sizeof(float));
}

size_t Thread::productsBefore(int groupsLeft) const {
  size_t end = products.size();
  for (int groups = 0; end > 0; --end)
    if (products[end - 1].columns == 0 && groups++ == groupsLeft) break;
  return end;
}

void Thread::restoreSums() {
  for (const Sums& known : sums) std::copy(known.values.begin(), known.values.end(), known.place);
  sums.clear();
}

void Thread::dropProducts(size_t count) {
  products.erase(products.begin(), products.begin() + static_cast<std::ptrdiff_t>(count));
  for (const Product& product : products)
    if (product.columns > 0) hideSums(product);
}

}  // namespace cd::emulation
