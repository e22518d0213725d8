#include "mpathd/export_kind.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace mpath {
namespace {

constexpr std::array words{std::pair{ExportKind::nbd_socket, std::string_view("nbd-socket")},
                           std::pair{ExportKind::nbd, std::string_view("nbd")},
                           std::pair{ExportKind::tcmu, std::string_view("tcmu")},
                           std::pair{ExportKind::ublk, std::string_view("ublk")}};

}  // namespace

std::string_view word_of(ExportKind kind) {
  return std::ranges::find(words, kind, &decltype(words)::value_type::first)->second;
}

std::optional<ExportKind> export_kind(std::string_view word) {
  const auto found = std::ranges::find(words, word, &decltype(words)::value_type::second);
  if (found == words.end()) return std::nullopt;
  return found->first;
}

std::expected<ExportKinds, std::string> parse_export_kinds(std::string_view text) {
  constexpr std::string_view between = " \t,";
  ExportKinds kinds;
  bool none = false;
  std::size_t at = text.find_first_not_of(between);
  while (at != text.npos) {
    const std::size_t end = std::min(text.find_first_of(between, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    const auto kind = export_kind(word);
    if (!kind && word != "none") return std::unexpected(std::string(word));
    if (kind) kinds.insert(*kind);
    none = none || !kind;
    at = text.find_first_not_of(between, end);
  }
  if (none == !kinds.empty()) return std::unexpected(std::string(text));  // nothing at all, or none beside others
  return kinds;
}

std::string to_text(const ExportKinds& kinds) {
  std::string text;
  for (const ExportKind kind : kinds) {
    if (!text.empty()) text += ' ';
    text += word_of(kind);
  }
  return text.empty() ? "none" : text;
}

}  // namespace mpath
