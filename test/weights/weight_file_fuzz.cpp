// Mutates weight files and reads whatever still opens; built with sanitizers, so that any access out of bounds ends it.
//   weight_file_fuzz ROUNDS SEED FOLDER FILE...     prints how many mutations opened and how many were refused
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

bool opens(const std::string& path) {
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
        file->read(index, dtype, out.data(), static_cast<int64_t>(index));
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
      opens(path) ? ++opened : ++refused;
    }
  }
  std::printf("%ld %ld\n", opened, refused);
}
