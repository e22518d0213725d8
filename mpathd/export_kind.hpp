// The ways in which a map is offered to the machine, by the words of multipath.conf and of `export map`. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace mpath {

enum class ExportKind : std::uint8_t {
  nbd_socket,  // an NBD server on a unix socket
  nbd,         // /dev/nbdN, the kernel's NBD client
  tcmu,        // /dev/sdX, target_core_user and tcm_loop
  ublk,        // /dev/ublkbN
};
using ExportKinds = std::set<ExportKind>;

[[nodiscard]] std::string_view word_of(ExportKind kind);
[[nodiscard]] std::optional<ExportKind> export_kind(std::string_view word);

// Kinds with blanks or commas between, or `none`. Otherwise the word that is not known.
[[nodiscard]] std::expected<ExportKinds, std::string> parse_export_kinds(std::string_view text);
[[nodiscard]] std::string to_text(const ExportKinds& kinds);

}  // namespace mpath
