#include "target/scsi/unit_error.hpp"

#include <string>

namespace mpath::target {
namespace {

const char* text(UnitErrc code) {
  switch (code) {
    case UnitErrc::elsewhere:
      return "this node does not serve the unit: ask the node that does";
    case UnitErrc::pair_decides:
      return "the pair decides the states of its port groups: use `mptargetctl cluster switchover`";
  }
  return "unknown error";
}

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "unit"; }
  [[nodiscard]] std::string message(int code) const override { return text(static_cast<UnitErrc>(code)); }
};

}  // namespace

const std::error_category& unit_category() {
  static const Category category;
  return category;
}

}  // namespace mpath::target
