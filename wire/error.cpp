#include "wire/error.hpp"

#include <string>

namespace mpath {
namespace {

const char* text(WireErrc code) {
  switch (code) {
    case WireErrc::truncated:
      return "message ends too early";
    case WireErrc::trailing:
      return "message is longer than its format";
    case WireErrc::bad_opcode:
      return "unknown kind of message";
    case WireErrc::bad_field:
      return "field has a forbidden value";
    case WireErrc::bad_length:
      return "lengths contradict each other or exceed the limits";
    case WireErrc::bad_digest:
      return "digest does not match";
    case WireErrc::bad_version:
      return "written by another version";
  }
  return "unknown error";
}

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "wire"; }
  [[nodiscard]] std::string message(int code) const override { return text(static_cast<WireErrc>(code)); }
};

}  // namespace

const std::error_category& wire_category() {
  static const Category category;
  return category;
}

}  // namespace mpath
