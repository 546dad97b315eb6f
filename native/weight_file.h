// A memory-mapped weight file: safetensors (one shard) or GGUF. The file is untrusted input: everything it claims is
// checked against its real size before anything is allocated or read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel.h"

namespace cd {

class WeightFile {
 public:
  struct Entry {
    std::string name;            // as in the file, valid UTF-8
    std::string dtype;           // "F32", "F16", "BF16", "I64", …; GGUF also "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", …
    std::vector<int64_t> shape;  // row-major: the last dimension is contiguous (GGUF stores the reverse)
    int64_t offset = 0;          // of the first byte, from the start of the file
    int64_t bytes = 0;

    int64_t elements() const {
      int64_t count = 1;
      for (int64_t size : shape) count *= size;
      return count;
    }
  };

  // Maps the file and reads its header; the format is told by the first bytes. Throws Error, in one line with the
  // file and the remedy, for a file that is missing, truncated, malformed or of another format.
  static std::unique_ptr<WeightFile> open(const std::string& path);

  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;
  ~WeightFile();

  const std::string& path() const { return path_; }
  const std::string& format() const { return format_; }  // "safetensors" or "gguf"
  const std::vector<Entry>& entries() const { return entries_; }
  // GGUF: every key-value pair, arrays included. safetensors: the pairs of __metadata__. A JSON object either way.
  // Floats are written with the fewest digits that name the stored value; NaN and infinities become null.
  const std::string& metadataJson() const { return metadata_; }

  // A part of a tensor, taken as a matrix of shape[0] rows (1 where it has no dimension) and as many columns as that leaves.
  struct Region {
    int64_t firstRow = 0, rows = 0, firstColumn = 0, columns = 0;
    int64_t elements() const { return rows * columns; }
  };
  Region whole(size_t entry) const;
  // Throws Error unless `region` lies within tensor `entry`, which there is.
  void expectRegion(size_t entry, const Region& region) const;

  // Converts a region of tensor `entry` to `target` (F32 or BF16, rounding to nearest even; FP8 and U8 from F8_E4M3 and U8 alone,
  // as they are) and writes its values, contiguous, to `out`. Of the file it reads the region alone (where that cuts blocks, all
  // of these). F32, F16, BF16, F64 and the GGUF block formats that ggml_blocks.h lists can be read. unpermuteHeads > 0 undoes the
  // row order that GGUF gives the query and key projections of the Llama family: the rows are that many heads, each with its
  // rotary halves interleaved; they come out halves apart, as transformers has them. Safe to call from any thread, any number at
  // once. Throws Error.
  void read(size_t entry, DType target, void* out, const Region& region, int64_t unpermuteHeads = 0) const;

 private:
  WeightFile() = default;

  std::string path_, format_, metadata_;
  std::vector<Entry> entries_;
  int descriptor_ = -1;
  const uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace cd
