#include "weight_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <unordered_set>

#include "ggml_blocks.h"
#include "weight_parsing.h"

namespace cd {

bool isUtf8(std::string_view text) {
  const auto* byte = reinterpret_cast<const uint8_t*>(text.data());
  const auto* end = byte + text.size();
  while (byte < end) {
    const uint8_t lead = *byte++;
    if (lead < 0x80) continue;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || end - byte < more) return false;
    uint32_t code = lead & (0x3f >> more);
    for (int i = 0; i < more; ++i, ++byte) {
      if ((*byte & 0xc0) != 0x80) return false;
      code = code << 6 | (*byte & 0x3f);
    }
    constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  }
  return true;
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string shown(text.substr(0, kLongest));
  const bool valid = isUtf8(text);
  if (text.size() > kLongest) {
    while (valid && !shown.empty() && (static_cast<uint8_t>(text[shown.size()]) & 0xc0) == 0x80) shown.pop_back();
    shown += "…";
  }
  for (size_t i = 0; i < std::min(shown.size(), kLongest); ++i)
    if (static_cast<uint8_t>(shown[i]) < 0x20 || shown[i] == 0x7f || (!valid && static_cast<uint8_t>(shown[i]) >= 0x80))
      shown[i] = '?';
  return "'" + shown + "'";
}

void appendJsonString(std::string& json, std::string_view text) {
  json += '"';
  for (const char character : text) {
    if (character == '"' || character == '\\') {
      json += '\\';
      json += character;
    } else if (static_cast<uint8_t>(character) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", character);
      json += escape;
    } else {
      json += character;
    }
  }
  json += '"';
}

int64_t checkedElements(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements) || elements > (int64_t{1} << 62)) return -1;
  return elements;
}

void refuseOverlaps(const std::string& path, const std::vector<WeightFile::Entry>& entries) {
  std::unordered_set<std::string_view> names;
  for (const auto& entry : entries)
    if (!names.insert(entry.name).second) failFile(path, "tensor " + printable(entry.name) + " occurs twice");
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return entries[a].offset < entries[b].offset; });
  const WeightFile::Entry* last = nullptr;
  for (const size_t index : order) {
    const auto& entry = entries[index];
    if (entry.bytes == 0) continue;
    if (last && entry.offset < last->offset + last->bytes)
      failFile(path, "tensors " + printable(last->name) + " and " + printable(entry.name) + " overlap");
    last = &entry;
  }
}

std::unique_ptr<WeightFile> WeightFile::open(const std::string& path) {
  std::unique_ptr<WeightFile> file(new WeightFile());
  file->path_ = path;
  // O_NONBLOCK so that a named pipe is refused below instead of waited for.
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->descriptor_ < 0)
    failFile(path, std::string("cannot be opened (") + std::strerror(errno) + ")", "check the path and its permissions");
  struct stat status{};
  if (fstat(file->descriptor_, &status) != 0 || !S_ISREG(status.st_mode))
    failFile(path, "is not a regular file", "name a .safetensors or .gguf file");
  file->size_ = status.st_size;
  if (file->size_ < 8) failFile(path, "holds " + std::to_string(file->size_) + " bytes, too few for any weight file");
  void* mapped = mmap(nullptr, static_cast<size_t>(file->size_), PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
  if (mapped == MAP_FAILED)
    failFile(path, std::string("cannot be mapped into memory (") + std::strerror(errno) + ")", "free address space or memory");
  file->data_ = static_cast<const uint8_t*>(mapped);
  const bool gguf = std::memcmp(file->data_, "GGUF", 4) == 0;
  file->format_ = gguf ? "gguf" : "safetensors";
  ParsedWeights parsed = (gguf ? parseGguf : parseSafetensors)(path, file->data_, file->size_);
  refuseOverlaps(path, parsed.entries);
  file->entries_ = std::move(parsed.entries);
  file->metadata_ = std::move(parsed.metadata);
  return file;
}

WeightFile::~WeightFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_));
  if (descriptor_ >= 0) ::close(descriptor_);
}

namespace {

using ToFloat = void (*)(const uint8_t* source, float* out, int64_t count);

// How `dtype` is stored: `block` elements take `bytes` bytes, which are the target's own where it `copies`.
struct Storage {
  int64_t block, bytes;
  ToFloat toFloat;
  bool copies;
};

Storage storageOf(const std::string& path, const WeightFile::Entry& entry, DType target) {
  if (target == DType::FP8 || target == DType::U8) {
    const char* const wanted = target == DType::FP8 ? "F8_E4M3" : "U8";
    if (entry.dtype != wanted)
      failFile(path, "tensor " + printable(entry.name) + " has dtype " + entry.dtype + " where " + wanted + " was expected");
    return {1, 1, nullptr, true};
  }
  const BlockFormat* format = findBlockFormat(entry.dtype);
  if (!format || !format->dequantise)
    failFile(path, "tensor " + printable(entry.name) + " has dtype " + entry.dtype + ", which cannot be read as numbers",
             ("convert the model to one of " + readableBlockFormats()).c_str());
  return {format->elements, format->bytes, format->dequantise, target == DType::BF16 && entry.dtype == "BF16"};
}

void store(const float* values, int64_t count, DType target, uint8_t* out) {
  if (target == DType::F32) {
    std::memcpy(out, values, static_cast<size_t>(count) * 4);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = toBFloat16(values[i]).bits;
    std::memcpy(out + i * 2, &bits, 2);
  }
}

// Whole blocks.
void convertBlocks(const Storage& storage, const uint8_t* source, int64_t count, DType target, uint8_t* out) {
  if (target == DType::F32 && reinterpret_cast<uintptr_t>(out) % alignof(float) == 0)
    return storage.toFloat(source, reinterpret_cast<float*>(out), count);
  constexpr int64_t kChunk = 4096;  // a multiple of every block
  float values[kChunk];
  for (int64_t start = 0; start < count; start += kChunk) {
    const int64_t length = std::min(kChunk, count - start);
    storage.toFloat(source + start / storage.block * storage.bytes, values, length);
    store(values, length, target, out + start * dtypeSize(target));
  }
}

// Elements [first, first + count) of a tensor whose data is at `source`.
void convert(const Storage& storage, const uint8_t* source, int64_t first, int64_t count, DType target, uint8_t* out) {
  if (storage.copies) {
    std::memcpy(out, source + first * storage.bytes, static_cast<size_t>(count * storage.bytes));
    return;
  }
  for (int64_t part; count > 0; first += part, count -= part, out += part * dtypeSize(target)) {
    const uint8_t* block = source + first / storage.block * storage.bytes;
    const int64_t within = first % storage.block;
    part = within == 0 ? count - count % storage.block : 0;
    if (part > 0) {
      convertBlocks(storage, block, part, target, out);
      continue;
    }
    constexpr int64_t kLargestBlock = 256;
    float values[kLargestBlock];
    storage.toFloat(block, values, storage.block);
    part = std::min(count, storage.block - within);
    store(values + within, part, target, out);
  }
}

}  // namespace

WeightFile::Region WeightFile::whole(size_t index) const {
  const Entry& entry = entries_[index];
  const int64_t rows = entry.shape.empty() ? 1 : entry.shape[0];
  return {0, rows, 0, rows == 0 ? 0 : entry.elements() / rows};
}

void WeightFile::expectRegion(size_t index, const Region& region) const {
  const Region all = whole(index);
  const auto within = [](int64_t first, int64_t count, int64_t size) {
    return first >= 0 && count >= 0 && first <= size && count <= size - first;
  };
  if (within(region.firstRow, region.rows, all.rows) && within(region.firstColumn, region.columns, all.columns)) return;
  const auto range = [](int64_t first, int64_t count) { return std::to_string(first) + "+" + std::to_string(count); };
  throw Error("Expected 'region' to lie within the " + std::to_string(all.rows) + " rows and " + std::to_string(all.columns) +
              " columns of " + printable(entries_[index].name) + " but received rows " + range(region.firstRow, region.rows) +
              " and columns " + range(region.firstColumn, region.columns));
}

void WeightFile::read(size_t index, DType target, void* out, const Region& region, int64_t unpermuteHeads) const {
  if (index >= entries_.size())
    throw Error("Expected 'entry' to be below " + std::to_string(entries_.size()) + " but received " + std::to_string(index));
  if (target == DType::I32) throw Error("Expected 'target' to be f32, bf16, fp8 or u8 but received i32");
  expectRegion(index, region);
  const Entry& entry = entries_[index];
  const Storage storage = storageOf(path_, entry, target);
  // Reading past the end of a mapping that another process has cut short would end this one.
  struct stat status{};
  if (fstat(descriptor_, &status) != 0 || status.st_size < entry.offset + entry.bytes)
    failFile(path_, "has become shorter since it was opened");

  const uint8_t* source = data_ + entry.offset;
  auto* bytes = static_cast<uint8_t*>(out);
  const auto [firstRow, rows, firstColumn, columns] = region;
  const Region all = whole(index);
  if (region.elements() == 0) return;
  if (unpermuteHeads <= 0 && columns == all.columns)
    return convert(storage, source, firstRow * columns, rows * columns, target, bytes);
  if (unpermuteHeads > 0 && all.rows % (2 * unpermuteHeads) != 0)
    throw Error("Expected 'unpermuteHeads' to split the " + std::to_string(all.rows) + " rows of " + printable(entry.name) +
                " into heads of even size but received " + std::to_string(unpermuteHeads));
  const int64_t headSize = unpermuteHeads > 0 ? all.rows / unpermuteHeads : 0, half = headSize / 2;
  const auto stored = [&](int64_t row) {
    if (headSize == 0) return row;
    const int64_t within = row % headSize;
    return row - within + 2 * (within % half) + within / half;
  };
  for (int64_t row = 0; row < rows; ++row)
    convert(storage, source, stored(firstRow + row) * all.columns + firstColumn, columns, target,
            bytes + row * columns * dtypeSize(target));
}

}  // namespace cd
