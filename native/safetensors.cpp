// safetensors: a little-endian u64 header length, a JSON header, then the data. The header maps each tensor's name to
// {"dtype", "shape", "data_offsets": [begin, end]} with offsets counted from the end of the header, and "__metadata__" to
// pairs of strings. The data must be covered exactly, with no overlap and no gap.
#include <algorithm>

#include "ggml_blocks.h"
#include "weight_parsing.h"

namespace cd {
namespace {

constexpr int64_t kLongestHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxDimensions = 8;

// Pulls exactly what the header may hold, so that nothing is built for what it may not.
class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::string_view text) : path_(path), text_(text) {}

  [[noreturn]] void fail(const std::string& expected) const {
    failFile(path_,
             "is not a valid safetensors file (expected " + expected + " at byte " + std::to_string(8 + at_) + " of the header)");
  }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char character) {
    if (peek() != character) fail(std::string("'") + character + "'");
    ++at_;
  }
  bool atEnd() { return peek() == '\0' && at_ == text_.size(); }

  // Calls item() for each of the comma-separated things between `open` and `close`.
  template <class Item>
  void list(char open, char close, Item&& item) {
    expect(open);
    if (peek() == close) {
      ++at_;
      return;
    }
    for (;;) {
      item();
      if (peek() == close) break;
      expect(',');
    }
    ++at_;
  }

  std::string string() {
    expect('"');
    std::string result;
    for (;;) {
      if (at_ >= text_.size() || static_cast<uint8_t>(text_[at_]) < 0x20) fail("the end of a string");
      const char character = text_[at_++];
      if (character == '"') return result;
      if (character == '\\') escape(result);
      else result += character;
    }
  }

  int64_t count() {
    peek();
    const size_t start = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[at_] - '0', &value))
        fail("a number below 2^63");
    if (at_ == start) fail("a whole number");
    return value;
  }

 private:
  uint32_t hex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char digit = at_ < text_.size() ? text_[at_++] : '\0';
      const int nibble = digit >= '0' && digit <= '9'   ? digit - '0'
                         : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                         : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                        : -1;
      if (nibble < 0) fail("four hexadecimal digits");
      value = value << 4 | static_cast<uint32_t>(nibble);
    }
    return value;
  }
  void escape(std::string& result) {
    const char kind = at_ < text_.size() ? text_[at_++] : '\0';
    constexpr std::string_view kKinds = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (const size_t index = kKinds.find(kind); index != std::string_view::npos) {
      result += kValues[index];
      return;
    }
    if (kind != 'u') fail("an escape sequence");
    uint32_t code = hex4();
    if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const uint32_t low = hex4();
      if (low < 0xdc00 || low > 0xdfff) fail("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xd800 && code < 0xe000) {
      fail("a whole surrogate pair");
    }
    if (code < 0x80) {
      result += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    constexpr int kLead[] = {0, 0xc0, 0xe0, 0xf0};
    result += static_cast<char>(kLead[more] | code >> (6 * more));
    for (int i = more - 1; i >= 0; --i) result += static_cast<char>(0x80 | (code >> (6 * i) & 0x3f));
  }

  const std::string& path_;
  std::string_view text_;
  size_t at_ = 0;
};

// Reads {"dtype", "shape", "data_offsets"} into entry; offset is still relative to the data.
void readTensor(HeaderReader& header, WeightFile::Entry& entry) {
  bool dtype = false, shape = false, offsets = false;
  header.list('{', '}', [&] {
    const std::string field = header.string();
    header.expect(':');
    if (field == "dtype" && !dtype) {
      dtype = true;
      entry.dtype = header.string();
    } else if (field == "shape" && !shape) {
      shape = true;
      header.list('[', ']', [&] {
        if (entry.shape.size() == kMaxDimensions) header.fail("at most 8 dimensions");
        entry.shape.push_back(header.count());
      });
    } else if (field == "data_offsets" && !offsets) {
      offsets = true;
      header.expect('[');
      entry.offset = header.count();
      header.expect(',');
      entry.bytes = header.count() - entry.offset;
      header.expect(']');
    } else {
      header.fail("only 'dtype', 'shape' and 'data_offsets', once each");
    }
  });
  if (!dtype || !shape || !offsets) header.fail("'dtype', 'shape' and 'data_offsets'");
}

void checkTensor(const std::string& path, const WeightFile::Entry& entry, int64_t dataBytes) {
  const std::string tensor = "tensor " + printable(entry.name);
  const BlockFormat* format = findBlockFormat(entry.dtype);
  // A dtype that came after this code can be listed; only its size cannot be checked.
  constexpr const char* kDTypeCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  if (!format && (entry.dtype.size() > 16 || entry.dtype.find_first_not_of(kDTypeCharacters) != std::string::npos))
    failFile(path, tensor + " has the impossible dtype " + printable(entry.dtype));
  const int64_t elements = checkedElements(entry.shape);
  int64_t expected = -1;
  if (elements < 0 || (format && __builtin_mul_overflow(elements, format->bytes, &expected)))
    failFile(path, tensor + " has an impossible shape");
  if (entry.bytes < 0 || (format && entry.bytes != expected))
    failFile(path,
             tensor + " needs " + std::to_string(expected) + " bytes for its shape but is given " + std::to_string(entry.bytes));
  if (entry.bytes > dataBytes || entry.offset > dataBytes - entry.bytes)
    failFile(path, "is truncated: " + tensor + " lies beyond the end of the file");
}

}  // namespace

ParsedWeights parseSafetensors(const std::string& path, const uint8_t* data, int64_t size) {
  const auto claimed = loadUnaligned<uint64_t>(data);
  if (claimed > static_cast<uint64_t>(kLongestHeader))
    failFile(
        path,
        "is not a weight file: read as safetensors it claims a header of " + std::to_string(claimed) + " bytes (limit 100000000)",
        "name a .safetensors or .gguf file");
  const auto length = static_cast<int64_t>(claimed);
  if (length > size - 8)
    failFile(path, "is truncated: its header takes " + std::to_string(length) + " bytes and the file ends after " +
                       std::to_string(size - 8));
  const std::string_view text(reinterpret_cast<const char*>(data + 8), static_cast<size_t>(length));
  if (!isUtf8(text)) failFile(path, "is not a valid safetensors file (its header is not UTF-8)");

  ParsedWeights result;
  HeaderReader header(path, text);
  std::string pairs;
  bool metadata = false;
  const int64_t dataStart = 8 + length, dataBytes = size - dataStart;
  header.list('{', '}', [&] {
    std::string name = header.string();
    header.expect(':');
    if (name == "__metadata__" && !metadata) {
      metadata = true;
      header.list('{', '}', [&] {
        if (!pairs.empty()) pairs += ',';
        appendJsonString(pairs, header.string());
        header.expect(':');
        pairs += ':';
        appendJsonString(pairs, header.string());
      });
      return;
    }
    WeightFile::Entry entry;
    entry.name = std::move(name);
    readTensor(header, entry);
    checkTensor(path, entry, dataBytes);
    result.entries.push_back(std::move(entry));
  });
  if (!header.atEnd()) header.fail("nothing more");
  result.metadata = "{" + pairs + "}";

  int64_t covered = 0;
  for (auto& entry : result.entries) {
    covered += entry.bytes;
    if (covered > dataBytes) failFile(path, "has tensors that overlap");
    entry.offset += dataStart;
  }
  // Without overlap (checked by the caller), equal sums mean no gap.
  if (covered != dataBytes)
    failFile(path, "holds " + std::to_string(dataBytes) + " bytes of data but its tensors take " + std::to_string(covered));
  return result;
}

}  // namespace cd
