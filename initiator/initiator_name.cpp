#include "initiator/initiator_name.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <iterator>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char character) { return std::isspace(static_cast<unsigned char>(character)) != 0; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

Result<std::string> read_name(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) return failure(errno == 0 ? EIO : errno);
  const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  std::string name = parse_initiator_name(text);
  if (!valid_initiator_name(name)) return failure(EINVAL);
  return name;
}

Result<std::string> random_name() {
  std::array<unsigned char, 6> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return failure(errno);
  std::string name = "iqn.2026-11.local.mpathd:";
  for (const unsigned char byte : bytes) name += fmt::format("{:02x}", byte);
  return name;
}

// A complete temporary file takes the name's place with link(2): never half a file, and the first of two wins.
error_code create(const std::filesystem::path& file, const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) return error;
  const std::string text = fmt::format(
      "# The name by which targets know this machine. Made once; keep it as long as a target has it in its lists.\n"
      "InitiatorName={}\n",
      name);
  std::string temporary = file.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return error_code(errno, std::generic_category());
  const bool written = ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fchmod(fd.get(), 0644) == 0 && ::fsync(fd.get()) == 0;
  const int write_errno = errno;
  const bool linked = written && (::link(temporary.c_str(), file.c_str()) == 0 || errno == EEXIST);
  const int link_errno = errno;
  ::unlink(temporary.c_str());
  if (!written) return error_code(write_errno, std::generic_category());
  if (!linked) return error_code(link_errno, std::generic_category());
  return {};
}

}  // namespace

std::string parse_initiator_name(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    constexpr std::string_view key = "InitiatorName";
    if (!line.starts_with(key)) continue;
    const std::string_view rest = trimmed(line.substr(key.size()));
    if (rest.starts_with('=')) return std::string(trimmed(rest.substr(1)));
  }
  return {};
}

bool valid_initiator_name(std::string_view name) {
  const bool typed = name.starts_with("iqn.") || name.starts_with("eui.") || name.starts_with("naa.");
  const bool clean = std::ranges::all_of(name, [](char character) {
    const auto byte = static_cast<unsigned char>(character);
    return byte > 0x20 && byte != 0x7f;
  });
  return typed && clean && name.size() > 4 && name.size() <= 223;
}

Result<std::string> load_initiator_name(const std::filesystem::path& file) {
  errno = 0;
  auto name = read_name(file);
  if (name || name.error() != std::errc::no_such_file_or_directory) return name;
  const auto fresh = random_name();
  if (!fresh) return fresh;
  if (const error_code error = create(file, *fresh)) return failure(error);
  return read_name(file);
}

}  // namespace mpath
