#include "target/cluster/held_back_file.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "base/atomic_file.hpp"

namespace mpath::target::cluster {
namespace {

using namespace mpath::replication;

std::string format(const HeldBack& word) {
  return fmt::format("{} {}{}\n", word.number, word.members.has(Member::a) ? "a" : "",
                     word.members.has(Member::b) ? "b" : "");
}

}  // namespace

std::expected<HeldBack, std::string> read_held_back(const std::filesystem::path& file) {
  const auto text = read_file(file, 64);
  if (!text && text.error() == std::errc::no_such_file_or_directory) return HeldBack();
  if (!text) return std::unexpected(fmt::format("{}: {}", file.string(), text.error().message()));
  HeldBack word;
  std::from_chars(text->data(), text->data() + text->size(), word.number);
  for (const Member member : {Member::a, Member::b}) {
    if (text->contains(name(member))) word.members.add(member);
  }
  // What this program did not write is not guessed at.
  if (format(word) != *text)
    return std::unexpected(fmt::format("{}: not the line that mptargetd wrote", file.string()));
  return word;
}

error_code write_held_back(const std::filesystem::path& file, const HeldBack& word) {
  return replace_file(file, format(word));
}

}  // namespace mpath::target::cluster
