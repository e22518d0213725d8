#include "exports/kernel_nbd.hpp"

#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <memory>

#include "exports/kernel_sysfs.hpp"

namespace mpath::kernel_nbd {
namespace {

using Socket = std::unique_ptr<nl_sock, decltype(&::nl_socket_free)>;
using Message = std::unique_ptr<nl_msg, decltype(&::nlmsg_free)>;

// The outcome of one request: what the kernel said against it, and the index that it named.
struct Outcome {
  bool over = false;
  int error = 0;
  std::optional<unsigned> index;
};

int on_error(sockaddr_nl*, nlmsgerr* answer, void* outcome) {
  auto& told = *static_cast<Outcome*>(outcome);
  told.error = -answer->error;
  told.over = true;
  return NL_STOP;
}

int on_acknowledged(nl_msg*, void* outcome) {
  static_cast<Outcome*>(outcome)->over = true;
  return NL_STOP;
}

int on_answer(nl_msg* message, void* outcome) {
  nlattr* const index =
      ::nlmsg_find_attr(::nlmsg_hdr(message), static_cast<int>(GENL_HDRLEN), static_cast<int>(NBD_ATTR_INDEX));
  if (index != nullptr) static_cast<Outcome*>(outcome)->index = ::nla_get_u32(index);
  return NL_OK;
}

Result<Outcome> ask(std::uint8_t command, const std::function<bool(nl_msg*)>& fill) {
  const Socket socket(::nl_socket_alloc(), &::nl_socket_free);
  const Message message(::nlmsg_alloc(), &::nlmsg_free);
  if (socket == nullptr || message == nullptr) return failure(ENOMEM);
  if (::genl_connect(socket.get()) < 0) return failure(EPROTONOSUPPORT);
  const int family = ::genl_ctrl_resolve(socket.get(), NBD_GENL_FAMILY_NAME);
  if (family < 0) return failure(ENODEV);
  if (::genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command, NBD_GENL_VERSION) == nullptr ||
      !fill(message.get())) {
    return failure(EMSGSIZE);
  }
  Outcome outcome;
  ::nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, &on_answer, &outcome);
  ::nl_socket_modify_cb(socket.get(), NL_CB_ACK, NL_CB_CUSTOM, &on_acknowledged, &outcome);
  ::nl_socket_modify_err_cb(socket.get(), NL_CB_CUSTOM, &on_error, &outcome);
  if (::nl_send_auto(socket.get(), message.get()) < 0) return failure(EIO);
  while (!outcome.over) {
    if (::nl_recvmsgs_default(socket.get()) < 0 && !outcome.over) return failure(EIO);
  }
  if (outcome.error != 0) return failure(outcome.error);
  return outcome;
}

bool put_socket(nl_msg* message, int socket) {
  nlattr* const sockets = ::nla_nest_start(message, NBD_ATTR_SOCKETS);
  if (sockets == nullptr) return false;
  nlattr* const item = ::nla_nest_start(message, NBD_SOCK_ITEM);
  if (item == nullptr || ::nla_put_u32(message, NBD_SOCK_FD, static_cast<std::uint32_t>(socket)) < 0) return false;
  ::nla_nest_end(message, item);
  ::nla_nest_end(message, sockets);
  return true;
}

bool put_common(nl_msg* message, const Connection& connection) {
  const auto limit = static_cast<std::uint64_t>(connection.absence_limit.count());
  return ::nla_put_u64(message, NBD_ATTR_DEAD_CONN_TIMEOUT, limit) == 0 &&
         ::nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, connection.identity.c_str()) == 0 &&
         put_socket(message, connection.socket);
}

error_code outcome_of(const Result<Outcome>& answer) { return answer ? error_code{} : answer.error(); }

}  // namespace

Result<unsigned> connect(const Connection& connection) {
  const auto answer = ask(NBD_CMD_CONNECT, [&](nl_msg* message) {
    return ::nla_put_u64(message, NBD_ATTR_SIZE_BYTES, connection.size_bytes) == 0 &&
           ::nla_put_u64(message, NBD_ATTR_TIMEOUT, 0) == 0 &&
           ::nla_put_u64(message, NBD_ATTR_BLOCK_SIZE_BYTES, connection.block_size) == 0 &&
           ::nla_put_u64(message, NBD_ATTR_SERVER_FLAGS, connection.flags) == 0 && put_common(message, connection);
  });
  if (!answer) return failure(answer.error());
  if (answer->index) return *answer->index;
  const auto found = find(connection.identity);
  if (!found) return failure(EPROTO);
  return *found;
}

// Neither with a size, for which the kernel waits until nothing is under way, while what is waits for this socket (Linux 6.9);
// nor with a timeout, which would set io_timeout back.
error_code reconnect(unsigned index, const Connection& connection) {
  return outcome_of(ask(NBD_CMD_RECONFIGURE, [&](nl_msg* message) {
    return ::nla_put_u32(message, NBD_ATTR_INDEX, index) == 0 && put_common(message, connection);
  }));
}

error_code resize(unsigned index, const std::string& identity, std::uint64_t size_bytes) {
  return outcome_of(ask(NBD_CMD_RECONFIGURE, [&](nl_msg* message) {
    return ::nla_put_u32(message, NBD_ATTR_INDEX, index) == 0 &&
           ::nla_put_u64(message, NBD_ATTR_SIZE_BYTES, size_bytes) == 0 &&
           ::nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, identity.c_str()) == 0;
  }));
}

error_code disconnect(unsigned index) {
  return outcome_of(ask(NBD_CMD_DISCONNECT, [&](nl_msg* message) { return ::nla_put_u32(message, NBD_ATTR_INDEX, index) == 0; }));
}

std::optional<unsigned> find(const std::string& identity) {
  std::error_code error;
  std::filesystem::directory_iterator each("/sys/block", error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    const std::string name = each->path().filename();
    unsigned index = 0;
    if (!name.starts_with("nbd") || std::from_chars(name.data() + 3, name.data() + name.size(), index).ec != std::errc{}) continue;
    const auto backend = read_attribute(each->path() / "backend");
    if (backend && *backend == identity) return index;
  }
  return std::nullopt;
}

}  // namespace mpath::kernel_nbd
