// Mutates weight files and reads whatever still opens; built with sanitizers, so that any access out of bounds ends it.
// Parts of tensors are read while the rest of the file's mapping is poisoned.
//   weight_file_fuzz ROUNDS SEED FOLDER FILE...     prints how many mutations opened and how many were refused
#include <sanitizer/asan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "../../native/ggml_blocks.h"
#include "../../native/weight_parsing.h"

namespace {

std::string mutate(std::string bytes, std::mt19937_64& random) {
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  switch (below(5)) {
    case 0:
      bytes.resize(below(bytes.size()));
      break;
    case 1:
      bytes.erase(below(bytes.size()), below(40));
      break;
    case 2:
      bytes.insert(below(bytes.size()), bytes.substr(below(bytes.size()), below(40)));
      break;
    case 3: {  // eight bytes, as sizes and offsets are
      const uint64_t values[] = {0, 1, 0xff, 1ull << 31, 1ull << 32, 1ull << 62, 1ull << 63, ~0ull, ~31ull, bytes.size()};
      const uint64_t value = values[below(std::size(values))] + below(17) - 8;
      const size_t at = below(2) ? below(bytes.size()) : below(5) * 8;
      for (size_t i = 0; i < 8 && at + i < bytes.size(); ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
      break;
    }
    default:
      for (size_t count = 1 + below(4); count > 0; --count) bytes[below(bytes.size())] = static_cast<char>(random());
  }
  return bytes;
}

// Parses from memory of exactly the file's size, where any access beyond it is seen; a mapping goes on to the end of a page.
void parseExactly(const std::string& bytes) {
  if (bytes.size() < 8) return;
  const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  const bool gguf = bytes.starts_with("GGUF");
  try {
    const auto parsed = (gguf ? cd::parseGguf : cd::parseSafetensors)("memory", copy.data(), static_cast<int64_t>(copy.size()));
    for (const auto& entry : parsed.entries) {
      const cd::BlockFormat* format = cd::findBlockFormat(entry.dtype);
      if (!format || !format->dequantise) continue;
      std::vector<float> out(static_cast<size_t>(entry.elements()));
      format->dequantise(copy.data() + entry.offset, out.data(), entry.elements());
    }
  } catch (const cd::Error&) {
  }
}

// Where the file at `path` is mapped, or null.
const char* mappingOf(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.ends_with(" " + path)) return reinterpret_cast<const char*>(std::strtoull(line.c_str(), nullptr, 16));
  return nullptr;
}

// Reads a part of a tensor, and nothing of the file but the blocks that it lies in: the others are poisoned meanwhile.
void readAlone(const cd::WeightFile& file, size_t index, const cd::WeightFile::Region& part, cd::DType dtype) {
  const auto& entry = file.entries()[index];
  const cd::BlockFormat* format = cd::findBlockFormat(entry.dtype);
  const char* data = mappingOf(file.path()) + entry.offset;
  const int64_t columns = file.whole(index).columns;
  __asan_poison_memory_region(data, static_cast<size_t>(entry.bytes));
  for (int64_t row = part.firstRow; row < part.firstRow + part.rows && part.columns > 0; ++row) {
    const int64_t first = (row * columns + part.firstColumn) / format->elements;
    const int64_t last = (row * columns + part.firstColumn + part.columns - 1) / format->elements;
    __asan_unpoison_memory_region(data + first * format->bytes, static_cast<size_t>((last - first + 1) * format->bytes));
  }
  std::vector<char> out(static_cast<size_t>(part.elements() * cd::dtypeSize(dtype)));
  try {
    file.read(index, dtype, out.data(), part);
  } catch (const cd::Error&) {
  }
  __asan_unpoison_memory_region(data, static_cast<size_t>(entry.bytes));
}

bool opens(const std::string& path, std::mt19937_64& random) {
  std::unique_ptr<cd::WeightFile> file;
  try {
    file = cd::WeightFile::open(path);
  } catch (const cd::Error& error) {
    if (std::string(error.what()).find('\n') == std::string::npos) return false;
    std::fprintf(stderr, "more than one line: %s\n", error.what());
    std::exit(1);
  }
  for (size_t index = 0; index < file->entries().size(); ++index) {
    const int64_t elements = file->entries()[index].elements();
    if (elements > (1 << 20)) continue;
    for (const cd::DType dtype : {cd::DType::F32, cd::DType::BF16}) {
      std::vector<char> out(static_cast<size_t>(elements * cd::dtypeSize(dtype)));
      try {
        file->read(index, dtype, out.data(), file->whole(index), static_cast<int64_t>(index));
        cd::WeightFile::Region part = file->whole(index);
        for (int64_t* bounds : {&part.firstRow, &part.firstColumn}) {
          int64_t& first = bounds[0];
          int64_t& count = bounds[1];
          if (count == 0) continue;
          first = static_cast<int64_t>(random() % static_cast<uint64_t>(count));
          count = static_cast<int64_t>(random() % static_cast<uint64_t>(count - first + 1));
        }
        readAlone(*file, index, part, dtype);
        out.resize(static_cast<size_t>(part.elements() * cd::dtypeSize(dtype)));
        out.shrink_to_fit();
        file->read(index, dtype, out.data(), part, static_cast<int64_t>(index) % 3);
      } catch (const cd::Error&) {
      }
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const long rounds = std::atol(argv[1]);
  std::mt19937_64 random(std::strtoull(argv[2], nullptr, 10));
  const std::string path = std::string(argv[3]) + "/mutated";
  long opened = 0, refused = 0;
  for (int file = 4; file < argc; ++file) {
    std::ifstream input(argv[file], std::ios::binary);
    const std::string original((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
    for (long round = 0; round < rounds; ++round) {
      const std::string bytes = mutate(original, random);
      parseExactly(bytes);
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
      opens(path, random) ? ++opened : ++refused;
    }
  }
  std::printf("%ld %ld\n", opened, refused);
}
