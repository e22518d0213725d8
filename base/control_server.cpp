#include "base/control_server.hpp"

#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/control.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "base/unix_socket.hpp"

namespace mpath::control {
namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;
using Json = nlohmann::json;

namespace {

constexpr std::size_t connections_max = 256;
constexpr std::size_t receive_bytes = 64 << 10;
constexpr std::size_t error_text_max = 4096;

const auto quietly = asio::as_tuple(asio::use_awaitable);

std::string line_of(const Json& reply) {
  // Names that targets gave us may be any bytes; they must not break an answer.
  std::string line = reply.dump(-1, ' ', false, Json::error_handler_t::replace);
  line.push_back('\n');
  return line;
}

std::string error_line(ExitCode code, std::string text) {
  if (text.empty()) text = exit_text(code);
  if (text.size() > error_text_max) text.resize(error_text_max);
  const Json error = {{"code", static_cast<int>(code)}, {"text", std::move(text)}};
  return line_of(Json{{"v", version}, {"ok", false}, {"error", error}});
}

std::string result_line(Json result) {
  Json reply = {{"v", version}, {"ok", true}};
  reply["result"] = std::move(result);
  std::string line = line_of(reply);
  if (line.size() > line_bytes_max) return error_line(ExitCode::internal, "the answer is too long for one line");
  return line;
}

struct Request {
  std::string verb;
  Json args;
};

std::expected<Request, HandlerError> parse_request(std::string_view line) {
  const auto bad = [](std::string text) {
    return std::unexpected(HandlerError{ExitCode::invalid_argument, std::move(text)});
  };
  Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object()) return bad("the request is not a JSON object");
  const auto asked = json.find("v");
  if (asked == json.end() || !asked->is_number_integer()) return bad("the request has no version \"v\"");
  if (!asked->is_number_unsigned() || asked->get<std::uint64_t>() == 0) return bad("the version must be 1 or more");
  if (asked->get<std::uint64_t>() > version) {
    const std::string text = "this daemon speaks version " + std::to_string(version) + " of the control protocol";
    return std::unexpected(HandlerError{ExitCode::not_supported, text});
  }
  const auto verb = json.find("verb");
  if (verb == json.end() || !verb->is_string()) return bad("the request has no \"verb\"");
  const auto args = json.find("args");
  if (args != json.end() && !args->is_object()) return bad("\"args\" is not an object");
  return Request{verb->get<std::string>(), args == json.end() ? Json::object() : std::move(*args)};
}

// Cuts a byte stream into lines. A line that grows past the limit is thrown away up to its end and reported as one.
class LineSplitter {
 public:
  enum class Kind { none, line, oversized };

  std::span<char> room() {
    buffer_.resize(std::max(buffer_.size(), used_ + receive_bytes));
    return std::span(buffer_).subspan(used_);
  }
  void received(std::size_t count) { used_ += count; }

  // The next whole line without its end; valid until room().
  Kind next(std::string_view& line) {
    for (;;) {
      const std::string_view unseen(buffer_.data() + scanned_, used_ - scanned_);
      const std::size_t end = unseen.find('\n');
      if (end == std::string_view::npos) {
        scanned_ = used_;
        if (used_ - start_ > line_bytes_max) discarding_ = true;
        if (discarding_) start_ = used_;
        compact();
        return Kind::none;
      }
      line = std::string_view(buffer_.data() + start_, scanned_ + end - start_);
      scanned_ += end + 1;
      start_ = scanned_;
      if (discarding_ || line.size() > line_bytes_max) {
        discarding_ = false;
        return Kind::oversized;
      }
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (!line.empty()) return Kind::line;
    }
  }

 private:
  void compact() {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(start_), buffer_.begin() + static_cast<std::ptrdiff_t>(used_),
              buffer_.begin());
    used_ -= start_;
    scanned_ -= start_;
    start_ = 0;
    if (used_ == 0 && buffer_.size() > 4 * receive_bytes) std::vector<char>().swap(buffer_);  // a long request is rare
  }

  std::vector<char> buffer_;
  std::size_t start_ = 0;    // of the line being gathered
  std::size_t scanned_ = 0;  // no line end before here
  std::size_t used_ = 0;
  bool discarding_ = false;
};

}  // namespace

struct Server::Impl {
  Impl(asio::any_io_executor given, Clock& with_clock)
      : executor(std::move(given)), clock(with_clock), acceptors(executor), connections(executor) {}

  error_code serve(UniqueFd socket);
  asio::awaitable<void> accept(std::shared_ptr<Protocol::acceptor> acceptor);
  asio::awaitable<void> connection(Protocol::socket socket);
  asio::awaitable<std::string> answer(std::string line);
  void remove_files();

  struct File {
    std::filesystem::path path;
    dev_t device;
    ino_t inode;
  };

  asio::any_io_executor executor;
  Clock& clock;
  std::map<std::string, Handler, std::less<>> handlers;
  std::vector<File> files;
  TaskGroup acceptors;
  TaskGroup connections;
};

Server::Server(asio::any_io_executor executor, Clock& clock) : impl_(std::make_unique<Impl>(std::move(executor), clock)) {}

Server::~Server() { impl_->remove_files(); }

void Server::add(std::string verb, Handler handler) { impl_->handlers.insert_or_assign(std::move(verb), std::move(handler)); }

error_code Server::listen(const std::filesystem::path& path) {
  using std::filesystem::perms;
  auto socket = listen_unix(path, perms::owner_read | perms::owner_write);
  if (!socket) return socket.error();
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) impl_->files.push_back({path, status.st_dev, status.st_ino});
  return impl_->serve(std::move(*socket));
}

error_code Server::adopt(int fd) {
  auto socket = adopt_unix_listener(fd);
  if (!socket) return socket.error();
  return impl_->serve(std::move(*socket));
}

asio::awaitable<void> Server::close() {
  co_await impl_->acceptors.close();
  impl_->remove_files();
  co_await impl_->connections.close();
}

std::size_t Server::connections() const { return impl_->connections.size(); }

error_code Server::Impl::serve(UniqueFd socket) {
  const auto acceptor = std::make_shared<Protocol::acceptor>(executor);
  boost::system::error_code error;
  acceptor->assign(Protocol(), socket.get(), error);
  if (error) return {error.value(), std::generic_category()};
  static_cast<void>(socket.release());
  acceptors.spawn(accept(acceptor));
  return {};
}

asio::awaitable<void> Server::Impl::accept(std::shared_ptr<Protocol::acceptor> acceptor) {
  for (;;) {
    auto [error, socket] = co_await acceptor->async_accept(quietly);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, mostly: others may give some back.
      if (co_await sleep_for(clock, std::chrono::milliseconds(100))) co_return;
      continue;
    }
    if (connections.size() >= connections_max) continue;  // closes it
    connections.spawn(connection(std::move(socket)));
  }
}

asio::awaitable<void> Server::Impl::connection(Protocol::socket socket) {
  LineSplitter splitter;
  for (;;) {
    const std::span<char> room = splitter.room();
    const auto buffer = asio::buffer(room.data(), room.size());
    const auto [error, count] = co_await socket.async_read_some(buffer, quietly);
    if (error) co_return;
    splitter.received(count);
    for (std::string_view line;;) {
      const LineSplitter::Kind kind = splitter.next(line);
      if (kind == LineSplitter::Kind::none) break;
      std::string reply;
      if (kind == LineSplitter::Kind::oversized) {
        reply = error_line(ExitCode::invalid_argument, "the request is longer than 32 MiB");
      } else {
        reply = co_await answer(std::string(line));
      }
      const auto whole = asio::buffer(reply);
      const auto [write_error, written] = co_await asio::async_write(socket, whole, quietly);
      if (write_error) co_return;
    }
  }
}

asio::awaitable<std::string> Server::Impl::answer(std::string line) {
  auto request = parse_request(line);
  if (!request) co_return error_line(request.error().code, std::move(request.error().text));
  const auto handler = handlers.find(request->verb);
  if (handler == handlers.end()) {
    co_return error_line(ExitCode::bad_management_request, "unknown verb \"" + request->verb.substr(0, 64) + "\"");
  }
  std::optional<HandlerError> thrown;
  try {
    auto result = co_await handler->second(std::move(request->args));
    if (!result) co_return error_line(result.error().code, std::move(result.error().text));
    co_return result_line(std::move(*result));
  } catch (const Json::exception& error) {
    thrown = HandlerError{ExitCode::invalid_argument, request->verb + ": bad arguments: " + error.what()};
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) throw;  // we are being closed
    thrown = HandlerError{ExitCode::internal, request->verb + ": " + error.what()};
  } catch (const std::exception& error) {
    thrown = HandlerError{ExitCode::internal, request->verb + ": " + error.what()};
  }
  co_return error_line(thrown->code, std::move(thrown->text));
}

void Server::Impl::remove_files() {
  for (const File& file : files) {
    struct stat status {};
    if (::lstat(file.path.c_str(), &status) != 0) continue;
    if (status.st_dev == file.device && status.st_ino == file.inode) ::unlink(file.path.c_str());
  }
  files.clear();
}

}  // namespace mpath::control
