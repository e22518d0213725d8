// The server of the protocol in base/control.hpp.
//
// Threads:      the executor given at construction, which must run on one thread only. Handlers run there too.
// Ownership:    clock borrowed. Destroy only after close(), or with an executor that will not run again.
// Order:        requests of one connection are answered in order; connections do not wait for each other.
// Cancellation: close() takes no new connections, cancels the handlers that still run and waits for them.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/clock.hpp"
#include "base/exit_codes.hpp"
#include "base/result.hpp"

namespace mpath::control {

struct HandlerError {
  ExitCode code = ExitCode::generic;
  std::string text;  // one line; empty: exit_text(code)
};
using HandlerResult = std::expected<nlohmann::json, HandlerError>;

// A json exception that escapes a handler (a missing or mistyped argument) is answered as invalid_argument, any other as
// internal.
using Handler = std::function<boost::asio::awaitable<HandlerResult>(nlohmann::json args)>;

class Server {
 public:
  Server(boost::asio::any_io_executor executor, Clock& clock);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void add(std::string verb, Handler handler);

  // Serves at `path`: the socket is 0600, a missing parent directory is made 0755, a dead daemon's socket is replaced. Fails with
  // EADDRINUSE when a live process answers there. The file is removed by close().
  [[nodiscard]] error_code listen(const std::filesystem::path& path);
  // Serves on a listening socket that the service manager handed over. Takes ownership of `fd`; its file is left alone.
  [[nodiscard]] error_code adopt(int fd);

  [[nodiscard]] boost::asio::awaitable<void> close();

  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath::control
