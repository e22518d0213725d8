#include "target/cluster/life_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>
#include <utility>

#include "base/atomic_file.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"

namespace mpath::target::cluster {
namespace {

constexpr std::size_t file_bytes_max = 4096;

// The value of a line "key value", which is taken off `text`. What does not belong there is seen when the whole is
// written again and compared.
std::string_view value_of(std::string_view& text, std::string_view key) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  if (!line.starts_with(key) || line.size() <= key.size()) return {};
  return line.substr(key.size() + 1);
}

const char* yes_no(bool value) {
  return value ? "yes" : "no";
}

}  // namespace

std::string LifeFile::format(const Life& life) {
  // Programs that do not know the last line take the file for damaged, and are suspect then too.
  const std::string text =
      fmt::format("mptarget-life 1\nincarnation {}\nboot {}\nended {}\nsuspect {}\n{}", life.incarnation, life.boot_id,
                  yes_no(life.ended), yes_no(life.suspect), life.in_hand ? "in_hand yes\n" : "");
  return text + fmt::format("crc32c {:08x}\n", crc32c(std::as_bytes(std::span(text))));
}

Result<LifeFile::Life> LifeFile::parse(const std::string& text) {
  std::string_view rest = text;
  static_cast<void>(value_of(rest, "mptarget-life"));
  const std::string_view number = value_of(rest, "incarnation");
  Life life;
  std::from_chars(number.data(), number.data() + number.size(), life.incarnation);
  life.boot_id = value_of(rest, "boot");
  life.ended = value_of(rest, "ended") == "yes";
  life.suspect = value_of(rest, "suspect") == "yes";
  life.in_hand = value_of(rest, "in_hand") == "yes";
  if (format(life) != text) return failure(WireErrc::bad_digest);
  return life;
}

// Empty: it is not.
std::string LifeFile::why_suspect(const Result<Life>& before, const LifeCircumstances& now) {
  if (now.joins) return "it has joined and was not filled yet";
  if (!now.record_exists) return {};
  if (!before && before.error() == std::errc::no_such_file_or_directory) return "the file of its lives is missing";
  if (!before) return "the file of its lives is damaged";
  if (before->suspect) return "an earlier life joined or lost its memory, and the copies were not filled since";
  if (!before->ended && before->in_hand) return "its process ended while it had in hand what was acknowledged";
  if (before->ended || (!now.boot_id.empty() && before->boot_id == now.boot_id)) return {};
  return "the machine went down without an orderly end";
}

std::expected<LifeFile, std::string> LifeFile::begin(const std::filesystem::path& path, const LifeCircumstances& now) {
  const auto failed = [&path](const error_code& error) {
    return std::unexpected(fmt::format("{}: {}", path.string(), error.message()));
  };
  Result<Life> before = failure(0);
  const auto text = read_file(path, file_bytes_max);
  if (text) {
    before = parse(*text);
  } else {
    // A medium that cannot be read is not a damaged file: nothing is begun over it.
    if (text.error() != std::errc::no_such_file_or_directory && text.error() != std::errc::file_too_large)
      return failed(text.error());
    before = std::unexpected(text.error());
  }
  std::string reason = why_suspect(before, now);
  const std::uint64_t next = before ? before->incarnation + 1 : 1;
  Life life{.incarnation = std::max(next, now.wall_clock),
            .boot_id = now.boot_id,
            .ended = false,
            .suspect = !reason.empty()};
  LifeFile file(path, std::move(life), std::move(reason));
  if (const error_code error = file.write(file.life_)) return failed(error);
  return file;
}

error_code LifeFile::note_in_hand(bool in_hand) {
  Life noted = life_;
  noted.in_hand = in_hand;
  return write(noted);
}

error_code LifeFile::clear_suspect() {
  Life sound = life_;
  sound.suspect = false;
  const error_code error = write(sound);
  if (!error) reason_.clear();
  return error;
}

error_code LifeFile::end() {
  Life ended = life_;
  ended.ended = true;
  return write(ended);
}

error_code LifeFile::write(const Life& life) {
  if (const error_code error = replace_file(path_, format(life))) return error;
  life_ = life;
  return {};
}

}  // namespace mpath::target::cluster
