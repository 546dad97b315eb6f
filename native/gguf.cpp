// GGUF versions 2 and 3, little-endian: "GGUF", u32 version, u64 tensor count, u64 pair count, the pairs (string key, u32
// type, value), the tensors (string name, u32 dimensions, u64 sizes with the contiguous one first, u32 type, u64 offset),
// padding to `general.alignment` (32), then the data. A string is a u64 length and UTF-8 bytes.
#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "ggml_blocks.h"
#include "weight_parsing.h"

namespace cd {
namespace {

constexpr size_t kLongestMetadata = size_t{256} << 20;  // of JSON text; a vocabulary of 256k tokens takes about 10 MB
constexpr uint64_t kMostItems = 1 << 20;                // tensors, and pairs; the largest models have some 10,000
constexpr uint32_t kMaxDimensions = 4;
constexpr int kMaxArrayDepth = 4;

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64, kValueTypes };
constexpr int64_t kSmallestValue[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // bytes in the file

class GgufReader {
 public:
  GgufReader(const std::string& path, const uint8_t* data, int64_t size) : path_(path), data_(data), size_(size) {}

  [[noreturn]] void fail(const std::string& problem) const { failFile(path_, problem); }
  int64_t at() const { return at_; }
  int64_t remaining() const { return size_ - at_; }

  template <class T>
  T number() {
    return loadUnaligned<T>(take(sizeof(T)));
  }
  std::string_view string(const char* what) {
    const auto length = number<uint64_t>();
    if (length > static_cast<uint64_t>(remaining()))
      fail(std::string("is truncated: ") + what + " claims " + std::to_string(length) + " bytes and " +
           std::to_string(remaining()) + " remain");
    const std::string_view text(reinterpret_cast<const char*>(take(static_cast<int64_t>(length))), length);
    if (!isUtf8(text)) fail(std::string("has ") + what + " that is not UTF-8: " + printable(text));
    return text;
  }
  // A count of things that take at least `smallest` bytes each.
  int64_t count(uint64_t claimed, int64_t smallest, const char* what) {
    if (claimed > static_cast<uint64_t>(remaining() / smallest))
      fail("is truncated: it claims " + std::to_string(claimed) + " " + what + " and " + std::to_string(remaining()) +
           " bytes remain");
    return static_cast<int64_t>(claimed);
  }

  void value(uint32_t type, std::string& json, int depth = 0) {
    switch (type) {
      case kU8:
        return integer<uint8_t>(json);
      case kI8:
        return integer<int8_t>(json);
      case kU16:
        return integer<uint16_t>(json);
      case kI16:
        return integer<int16_t>(json);
      case kU32:
        return integer<uint32_t>(json);
      case kI32:
        return integer<int32_t>(json);
      case kU64:
        return integer<uint64_t>(json);
      case kI64:
        return integer<int64_t>(json);
      case kF32:
        return real<float>(json);
      case kF64:
        return real<double>(json);
      case kBool:
        json += number<uint8_t>() ? "true" : "false";
        return;
      case kString:
        return appendJsonString(json, string("a metadata string"));
      case kArray:
        return array(json, depth);
      default:
        fail("has a metadata value of unknown type " + std::to_string(type));
    }
  }

 private:
  const uint8_t* take(int64_t bytes) {
    if (bytes > remaining()) fail("is truncated: its header goes on after the end of the file");
    const uint8_t* result = data_ + at_;
    at_ += bytes;
    return result;
  }
  template <class T>
  void integer(std::string& json) {
    char text[24];
    json.append(text, std::to_chars(text, text + sizeof text, number<T>()).ptr);
  }
  template <class T>
  void real(std::string& json) {
    const T value = number<T>();
    char text[32];
    if (value - value == 0) json.append(text, std::to_chars(text, text + sizeof text, value).ptr);
    else json += "null";
  }
  void array(std::string& json, int depth) {
    if (depth == kMaxArrayDepth) fail("has metadata arrays nested more than " + std::to_string(kMaxArrayDepth) + " deep");
    const auto type = number<uint32_t>();
    if (type >= kValueTypes) fail("has a metadata array of unknown type " + std::to_string(type));
    const int64_t length = count(number<uint64_t>(), kSmallestValue[type], "array elements");
    json += '[';
    for (int64_t i = 0; i < length; ++i) {
      if (i) json += ',';
      value(type, json, depth + 1);
      if (json.size() > kLongestMetadata) fail("has more than 256 MiB of metadata");
    }
    json += ']';
  }

  const std::string& path_;
  const uint8_t* data_;
  int64_t size_, at_ = 0;
};

std::string readMetadata(GgufReader& reader, int64_t pairs, int64_t& alignment) {
  std::string json = "{";
  std::unordered_set<std::string_view> keys;
  for (int64_t i = 0; i < pairs; ++i) {
    const std::string_view key = reader.string("a metadata key");
    if (!keys.insert(key).second) reader.fail("has the metadata key " + printable(key) + " twice");
    const auto type = reader.number<uint32_t>();
    if (i) json += ',';
    appendJsonString(json, key);
    json += ':';
    const size_t start = json.size();
    reader.value(type, json);
    if (json.size() > kLongestMetadata) reader.fail("has more than 256 MiB of metadata");
    if (key != "general.alignment") continue;
    const auto parsed = std::from_chars(json.data() + start, json.data() + json.size(), alignment);
    if (type != kU32 || parsed.ec != std::errc() || alignment < 8 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
      reader.fail("has an alignment that is not a power of two from 8 to 1048576");
  }
  return json + "}";
}

// offset is still relative to the data
WeightFile::Entry readTensor(GgufReader& reader) {
  WeightFile::Entry entry;
  entry.name = reader.string("a tensor name");
  const std::string tensor = "tensor " + printable(entry.name);
  const auto dimensions = reader.number<uint32_t>();
  if (dimensions > kMaxDimensions) reader.fail(tensor + " claims " + std::to_string(dimensions) + " dimensions (limit 4)");
  for (uint32_t axis = 0; axis < dimensions; ++axis) entry.shape.insert(entry.shape.begin(), reader.number<int64_t>());
  const auto type = reader.number<uint32_t>();
  entry.offset = reader.number<int64_t>();
  const BlockFormat* format = findBlockFormat(int64_t{type});
  if (!format) reader.fail(tensor + " has the unknown type " + std::to_string(type) + ", readable are " + readableBlockFormats());
  entry.dtype = format->name;
  const int64_t elements = checkedElements(entry.shape), columns = entry.shape.empty() ? 1 : entry.shape.back();
  if (elements < 0 || columns % format->elements != 0 ||
      __builtin_mul_overflow(elements / format->elements, format->bytes, &entry.bytes))
    reader.fail(tensor + " has a shape that " + entry.dtype + " cannot have");
  return entry;
}

}  // namespace

ParsedWeights parseGguf(const std::string& path, const uint8_t* data, int64_t size) {
  GgufReader reader(path, data, size);
  reader.number<uint32_t>();  // the magic
  const auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3)
    failFile(path, "is GGUF version " + std::to_string(version) + (version > 0xffff ? " (big-endian?)" : ""),
             "convert it with a current llama.cpp to little-endian version 3");
  const auto tensors = reader.number<uint64_t>(), pairs = reader.number<uint64_t>();
  if (tensors > kMostItems || pairs > kMostItems)
    reader.fail("claims " + std::to_string(tensors) + " tensors and " + std::to_string(pairs) +
                " metadata pairs (limit 1048576)");
  const int64_t pairCount = reader.count(pairs, 13, "metadata pairs");
  const int64_t tensorCount = reader.count(tensors, 24, "tensors");

  ParsedWeights result;
  int64_t alignment = 32;
  result.metadata = readMetadata(reader, pairCount, alignment);
  for (int64_t i = 0; i < tensorCount; ++i) result.entries.push_back(readTensor(reader));

  const int64_t dataStart = (reader.at() + alignment - 1) / alignment * alignment;
  for (auto& entry : result.entries) {
    const std::string tensor = "tensor " + printable(entry.name);
    if (entry.offset < 0 || entry.offset % alignment != 0)
      reader.fail(tensor + " has offset " + std::to_string(entry.offset) + ", not a multiple of the alignment " +
                  std::to_string(alignment));
    if (entry.bytes > size - dataStart || entry.offset > size - dataStart - entry.bytes)
      reader.fail("is truncated: " + tensor + " lies beyond the end of the file");
    entry.offset += dataStart;
  }
  return result;
}

}  // namespace cd
