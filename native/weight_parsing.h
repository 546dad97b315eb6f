// What the two weight file formats share: checked reading of untrusted bytes, one-line errors, JSON text.
#pragma once

#include <cstring>
#include <string_view>

#include "weight_file.h"

namespace cd {

struct ParsedWeights {
  std::vector<WeightFile::Entry> entries;
  std::string metadata;  // a JSON object
};

// The header in the first bytes of a file of `size` bytes. Allocates at most a small multiple of what the header takes.
ParsedWeights parseSafetensors(const std::string& path, const uint8_t* data, int64_t size);
ParsedWeights parseGguf(const std::string& path, const uint8_t* data, int64_t size);

constexpr const char* kDownloadAgain = "download or convert it again";

[[noreturn]] inline void failFile(const std::string& path, const std::string& problem, const char* remedy = kDownloadAgain) {
  throw Error(path + ": " + problem + "; " + remedy);
}

// A name from a file, fit for a one-line message: quoted, at most 80 bytes, control characters and broken UTF-8 replaced.
std::string printable(std::string_view text);
bool isUtf8(std::string_view text);
void appendJsonString(std::string& json, std::string_view text);

// product of shape, or −1 if a size is negative or the product exceeds 2^62
int64_t checkedElements(const std::vector<int64_t>& shape);

// Refuses entries that share a byte or a name. Sizes and offsets must have been checked against the file.
void refuseOverlaps(const std::string& path, const std::vector<WeightFile::Entry>& entries);

template <class T>
T loadUnaligned(const uint8_t* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

}  // namespace cd
