#include "ifaces/route_socket.hpp"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace mpath {
namespace {

constexpr std::size_t message_bytes_max = std::size_t{256} << 10;  // a device with many virtual functions fills 32 KiB
constexpr int dump_tries = 8;
constexpr int answer_wait_ms = 2000;
constexpr std::uint32_t forever = 0xffffffff;

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
    if (::poll(&waiting, 1, answer_wait_ms) == 0) return failure(ETIMEDOUT);
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

error_code RouteSocket::add_address(unsigned index, const NicAddress& address, std::chrono::seconds lifetime) {
  const auto seconds = lifetime.count() > 0 ? static_cast<std::uint32_t>(lifetime.count()) : forever;
  return change_address(RTM_NEWADDR, index, address, seconds);
}

error_code RouteSocket::remove_address(unsigned index, const NicAddress& address) {
  const error_code error = change_address(RTM_DELADDR, index, address, 0);
  return error.value() == EADDRNOTAVAIL ? error_code() : error;
}

error_code RouteSocket::change_address(int type, unsigned index, const NicAddress& address, std::uint32_t seconds) {
  std::array<std::byte, sizeof(in6_addr)> raw{};
  const bool v6 = ::inet_pton(AF_INET6, address.address.c_str(), raw.data()) == 1;
  if (!v6 && ::inet_pton(AF_INET, address.address.c_str(), raw.data()) != 1) return {EINVAL, std::generic_category()};
  // The kernel wants those of a loopback subnet to agree in scope.
  const bool loopback = !v6 && raw[0] == std::byte{127};
  const int raw_bytes = v6 ? sizeof(in6_addr) : sizeof(in_addr);
  const bool adding = type == RTM_NEWADDR;
  const std::unique_ptr<nl_msg, decltype(&nlmsg_free)> message(nlmsg_alloc(), &nlmsg_free);
  if (!message) return {ENOMEM, std::generic_category()};
  const int flags = NLM_F_REQUEST | NLM_F_ACK | (adding ? NLM_F_CREATE | NLM_F_REPLACE : 0);
  nlmsghdr* const header =
      nlmsg_put(message.get(), nl_socket_get_local_port(socket_.get()), ++sequence_, type, sizeof(ifaddrmsg), flags);
  if (header == nullptr) return {ENOMEM, std::generic_category()};
  auto& about = *static_cast<ifaddrmsg*>(nlmsg_data(header));
  about = {.ifa_family = static_cast<std::uint8_t>(v6 ? AF_INET6 : AF_INET),
           .ifa_prefixlen = static_cast<std::uint8_t>(address.prefix_length),
           .ifa_flags = static_cast<std::uint8_t>(v6 && adding ? IFA_F_NODAD : 0),
           .ifa_scope = static_cast<std::uint8_t>(loopback ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE),
           .ifa_index = index};
  int failed = nla_put(message.get(), IFA_LOCAL, raw_bytes, raw.data());
  if (failed == 0) failed = nla_put(message.get(), IFA_ADDRESS, raw_bytes, raw.data());
  if (failed == 0 && adding) {
    const ifa_cacheinfo lifetime{.ifa_prefered = v6 ? 0 : seconds, .ifa_valid = seconds, .cstamp = 0, .tstamp = 0};
    failed = nla_put(message.get(), IFA_CACHEINFO, sizeof lifetime, &lifetime);
  }
  if (failed != 0) return netlink_error(failed);
  if (::send(fd(), header, header->nlmsg_len, 0) < 0) return {errno, std::generic_category()};
  return acknowledged();
}

error_code RouteSocket::acknowledged() {
  for (;;) {
    pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, answer_wait_ms) == 0) return {ETIMEDOUT, std::generic_category()};
    const auto got = receive();
    if (!got && got.error().value() == EAGAIN) continue;
    if (!got) return got.error();
    int left = static_cast<int>(*got);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
      if (message->nlmsg_seq != sequence_ || message->nlmsg_type != NLMSG_ERROR) continue;
      return {-static_cast<const nlmsgerr*>(nlmsg_data(message))->error, std::generic_category()};
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
