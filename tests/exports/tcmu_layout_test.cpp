// The places in exports/tcmu_ring.hpp are those of the kernel's own header. It is no C++: g++ takes it with
// -fpermissive.
#if defined(__GNUC__) && !defined(__clang__)

#include "exports/tcmu_ring.hpp"

#define __LINUX_UIO_H  // it defines iovec once more
#include <linux/target_core_user.h>

namespace mpath {

static_assert(tcmu::mailbox_version == TCMU_MAILBOX_VERSION);
static_assert(tcmu::flag_out_of_order == TCMU_MAILBOX_FLAG_CAP_OOOC);
static_assert(tcmu::flag_read_length == TCMU_MAILBOX_FLAG_CAP_READ_LEN);
static_assert(tcmu::mailbox_flags == offsetof(tcmu_mailbox, flags));
static_assert(tcmu::mailbox_ring_offset == offsetof(tcmu_mailbox, cmdr_off));
static_assert(tcmu::mailbox_ring_size == offsetof(tcmu_mailbox, cmdr_size));
static_assert(tcmu::mailbox_head == offsetof(tcmu_mailbox, cmd_head));
static_assert(tcmu::mailbox_tail == offsetof(tcmu_mailbox, cmd_tail));
static_assert(tcmu::mailbox_bytes == sizeof(tcmu_mailbox));
static_assert(tcmu::op_mask == TCMU_OP_MASK);
static_assert(tcmu::op_pad == TCMU_OP_PAD && tcmu::op_command == TCMU_OP_CMD);
static_assert(tcmu::op_task_management == TCMU_OP_TMR);
static_assert(tcmu::entry_id == offsetof(tcmu_cmd_entry_hdr, cmd_id));
static_assert(tcmu::entry_user_flags == offsetof(tcmu_cmd_entry_hdr, uflags));
static_assert(tcmu::user_flag_read_length == TCMU_UFLAG_READ_LEN);
static_assert(tcmu::entry_header_bytes == sizeof(tcmu_cmd_entry_hdr));
static_assert(tcmu::entry_bytes_min == sizeof(tcmu_cmd_entry));
static_assert(tcmu::request_pieces == offsetof(tcmu_cmd_entry, req.iov_cnt));
static_assert(tcmu::request_bidi_pieces == offsetof(tcmu_cmd_entry, req.iov_bidi_cnt));
static_assert(tcmu::request_cdb_offset == offsetof(tcmu_cmd_entry, req.cdb_off));
static_assert(tcmu::request_piece_list == offsetof(tcmu_cmd_entry, req.iov));
static_assert(tcmu::answer_status == offsetof(tcmu_cmd_entry, rsp.scsi_status));
static_assert(tcmu::answer_read_length == offsetof(tcmu_cmd_entry, rsp.read_len));
static_assert(tcmu::answer_sense == offsetof(tcmu_cmd_entry, rsp.sense_buffer));
static_assert(tcmu::answer_sense_bytes == TCMU_SENSE_BUFFERSIZE);
static_assert(tcmu::task_type == offsetof(tcmu_tmr_entry, tmr_type));
static_assert(tcmu::task_count == offsetof(tcmu_tmr_entry, cmd_cnt));
static_assert(tcmu::task_bytes_min == offsetof(tcmu_tmr_entry, cmd_ids));

}  // namespace mpath

#endif
