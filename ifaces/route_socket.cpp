#include "ifaces/route_socket.hpp"

#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace mpath {
namespace {

constexpr std::size_t message_bytes_max = std::size_t{256} << 10;  // a device with many virtual functions fills 32 KiB
constexpr int dump_tries = 8;
constexpr int dump_wait_ms = 2000;

// libnl's error number as an errno value.
error_code netlink_error(int code) {
  const int kind = code < 0 ? -code : code;
  int number = EIO;
  if (kind == NLE_NOMEM) number = ENOMEM;
  if (kind == NLE_PERM || kind == NLE_NOACCESS) number = EPERM;
  if (kind == NLE_AF_NOSUPPORT) number = EAFNOSUPPORT;
  return {number, std::generic_category()};
}

}  // namespace

void RouteSocket::Free::operator()(nl_sock* socket) const {
  nl_socket_free(socket);
}

Result<RouteSocket> RouteSocket::open(const Options& options) {
  RouteSocket self;
  self.socket_.reset(nl_socket_alloc());
  if (!self.socket_) return failure(ENOMEM);
  nl_sock* socket = self.socket_.get();
  if (const int code = nl_connect(socket, NETLINK_ROUTE); code < 0) return failure(netlink_error(code));
  if (const int code = nl_socket_set_nonblocking(socket); code < 0) return failure(netlink_error(code));
  if (options.receive_buffer_bytes > 0) {
    const int bytes = options.receive_buffer_bytes;
    if (::setsockopt(self.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) != 0) return failure(errno);
  }
  if (options.listen) {
    for (const int group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR}) {
      if (const int code = nl_socket_add_membership(socket, group); code < 0) return failure(netlink_error(code));
    }
  }
  self.buffer_.resize(message_bytes_max);
  return self;
}

int RouteSocket::fd() const {
  return nl_socket_get_fd(socket_.get());
}

Result<std::size_t> RouteSocket::receive() {
  for (;;) {
    sockaddr_nl sender{};
    iovec part{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
    msghdr header{};
    header.msg_name = &sender;
    header.msg_namelen = sizeof sender;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t got = ::recvmsg(fd(), &header, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return failure(errno);
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) return failure(ENOBUFS);  // lost as well
    if (sender.nl_pid == 0) return static_cast<std::size_t>(got);      // others than the kernel may write to us: skip
  }
}

Result<RouteSocket::DumpEnd> RouteSocket::dump_once(LinkTable& table, int type) {
  struct {
    nlmsghdr header;
    rtgenmsg body;
  } request{};
  request.header = {.nlmsg_len = NLMSG_LENGTH(sizeof request.body),
                    .nlmsg_type = static_cast<std::uint16_t>(type),
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                    .nlmsg_seq = ++sequence_,
                    .nlmsg_pid = nl_socket_get_local_port(socket_.get())};
  if (::send(fd(), &request, request.header.nlmsg_len, 0) < 0) return failure(errno);
  bool disturbed = false;
  for (;;) {
    pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, dump_wait_ms) == 0) return failure(ETIMEDOUT);
    const auto got = receive();
    if (!got && got.error().value() == EAGAIN) continue;
    if (!got && got.error().value() == ENOBUFS) {  // the dump goes on, but notifications were lost
      disturbed = true;
      continue;
    }
    if (!got) return failure(got.error());
    int left = static_cast<int>(*got);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
      const bool answer = message->nlmsg_seq == sequence_ && message->nlmsg_pid == request.header.nlmsg_pid;
      if (answer && (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) disturbed = true;
      if (answer && message->nlmsg_type == NLMSG_DONE) return disturbed ? DumpEnd::disturbed : DumpEnd::done;
      if (answer && message->nlmsg_type == NLMSG_ERROR) {
        return failure(-static_cast<const nlmsgerr*>(nlmsg_data(message))->error);
      }
      table.apply(*message);
    }
  }
}

error_code RouteSocket::dump(LinkTable& table) {
  error_code last(EAGAIN, std::generic_category());
  for (int attempt = 0; attempt < dump_tries; ++attempt) {
    table.begin_dump();
    auto end = dump_once(table, RTM_GETLINK);
    if (end && *end == DumpEnd::done) end = dump_once(table, RTM_GETADDR);
    if (end && *end == DumpEnd::done) {
      table.end_dump();
      return {};
    }
    last = end ? error_code(EAGAIN, std::generic_category()) : end.error();
    if (!end) return last;
  }
  return last;
}

error_code RouteSocket::drain(LinkTable& table, const std::function<void(unsigned)>& changed) {
  for (;;) {
    const auto got = receive();
    if (!got) return got.error();
    int left = static_cast<int>(*got);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
      if (const unsigned index = table.apply(*message); index != 0) changed(index);
    }
  }
}

Result<std::vector<Nic>> list_nics() {
  auto socket = RouteSocket::open({});
  if (!socket) return failure(socket.error());
  LinkTable table;
  if (const error_code error = socket->dump(table)) return failure(error);
  return table.nics();
}

}  // namespace mpath
