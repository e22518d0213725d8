#include "target/config/secrets.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.hpp"

namespace mpath::target {
namespace {
constexpr std::size_t secret_bytes_max = 255;
constexpr std::size_t secret_file_bytes_max = 1024;

// As much of a file that nobody but its owner may read.
std::expected<std::string, std::string> read_secret_text(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
  if ((status.st_mode & 077) != 0)
    return std::unexpected(fmt::format("{}: others may read or change it (mode {:04o}): chmod 0600 {}", path,
                                       status.st_mode & 07777, path));
  char text[secret_file_bytes_max];
  const ssize_t size = ::read(fd.get(), text, sizeof text);
  if (size < 0) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
  return std::string(text, static_cast<std::size_t>(size));
}

}  // namespace

std::expected<std::string, std::string> parse_secret(std::string_view text) {
  std::string secret(text);
  if (text.starts_with("0x") || text.starts_with("0X") || text.starts_with("0b") || text.starts_with("0B")) {
    const auto bytes = iscsi::parse_binary(text, secret_bytes_max);
    if (!bytes) return std::unexpected("the secret begins like a binary value and is none");
    secret.assign(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
  if (secret.size() < iscsi::chap_secret_bytes_min) {
    return std::unexpected(fmt::format("the secret has {} bytes: at least {} are needed, shorter ones are guessed",
                                       secret.size(), iscsi::chap_secret_bytes_min));
  }
  if (secret.size() > secret_bytes_max)
    return std::unexpected(fmt::format("the secret is longer than {} bytes", secret_bytes_max));
  return secret;
}

std::optional<std::string> check_authentication(const Authentication& authentication) {
  if (!authentication.outgoing) return std::nullopt;
  if (authentication.incoming.empty())
    return "an outgoing_user without an incoming_user: the initiator authenticates the target only after itself";
  for (const Account& account : authentication.incoming) {
    if (account.secret == authentication.outgoing->secret)
      return fmt::format(
          "the secrets of incoming_user {} and outgoing_user {} are equal: a challenge could be reflected",
          account.user, authentication.outgoing->user);
  }
  return std::nullopt;
}

std::expected<std::string, std::string> read_secret_file(const std::string& path) {
  const auto text = read_secret_text(path);
  if (!text) return std::unexpected(text.error());
  return text->substr(0, text->find_first_of("\r\n"));
}

std::expected<std::vector<std::string>, std::string> read_secret_lines(const std::string& path) {
  const auto text = read_secret_text(path);
  if (!text) return std::unexpected(text.error());
  if (text->size() == secret_file_bytes_max)
    return std::unexpected(fmt::format("{}: longer than {} bytes", path, secret_file_bytes_max - 1));
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find_first_of("\r\n", at), text->size());
    if (end > at) lines.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

}  // namespace mpath::target
