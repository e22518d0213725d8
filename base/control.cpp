#include "base/control.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/system_clock.hpp"
#include "base/unix_socket.hpp"

namespace mpath::control {
namespace {

using Json = nlohmann::json;

// 0 when the socket is ready, otherwise an errno value.
int wait_for(int fd, short events, TimePoint deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_now()).count();
    if (left <= 0) return ETIMEDOUT;
    pollfd poll{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::min<long long>(left, 1'000'000)));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

error_code send_all(int fd, std::string_view text, TimePoint deadline) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (const int error = wait_for(fd, POLLOUT, deadline)) return {error, std::generic_category()};
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return {};  // it closed; what it said before that tells more
    } else if (errno != EINTR) {
      return {errno, std::generic_category()};
    }
  }
  return {};
}

Result<std::string> receive_line(int fd, TimePoint deadline) {
  std::string line;
  std::array<char, 65536> chunk;
  for (;;) {
    const ssize_t received = ::recv(fd, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (received > 0) {
      const std::string_view text(chunk.data(), static_cast<std::size_t>(received));
      const std::size_t end = text.find('\n');
      line.append(text.substr(0, end));
      if (end != std::string_view::npos) return line;
      if (line.size() > line_bytes_max) return failure(EPROTO);
    } else if (received == 0) {
      return failure(line.empty() ? ECONNRESET : EPROTO);
    } else if (errno == EAGAIN) {
      if (const int error = wait_for(fd, POLLIN, deadline)) return failure(error);
    } else if (errno != EINTR) {
      return failure(errno);
    }
  }
}

Result<Reply> parse_reply(const std::string& line, Json& result) {
  Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return failure(EPROTO);
  const auto ok = json.find("ok");
  if (ok == json.end() || !ok->is_boolean()) return failure(EPROTO);
  Reply reply{.ok = ok->get<bool>(), .code = 0, .text = {}};
  if (reply.ok) {
    const auto value = json.find("result");
    result = value == json.end() ? Json() : std::move(*value);
    return reply;
  }
  const auto error = json.find("error");
  if (error == json.end() || !error->is_object()) return failure(EPROTO);
  const auto code = error->find("code");
  const auto text = error->find("text");
  if (code == error->end() || !code->is_number_integer() || text == error->end() || !text->is_string()) return failure(EPROTO);
  reply.code = code->get<int>();
  reply.text = text->get<std::string>();
  if (reply.code == 0) return failure(EPROTO);
  return reply;
}

}  // namespace

Result<Reply> call(const std::filesystem::path& socket, const std::string& verb, const Json& args, Json& result,
                   std::chrono::milliseconds timeout) {
  const Json request = {{"v", version}, {"verb", verb}, {"args", args}};
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (line.size() > line_bytes_max) return failure(EMSGSIZE);
  const TimePoint deadline = steady_now() + timeout;
  const auto connection = connect_unix(socket, timeout);
  if (!connection) return failure(connection.error());
  if (const error_code error = send_all(connection->get(), line, deadline)) return failure(error);
  const auto answer = receive_line(connection->get(), deadline);
  if (!answer) return failure(answer.error());
  return parse_reply(*answer, result);
}

}  // namespace mpath::control
